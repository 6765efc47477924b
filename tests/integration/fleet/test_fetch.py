"""Whatever happens to a fetch, a model server reads a whole version or none."""

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from infra.stack.secrets import ensure_key_pair
from tasks.errors import Corrupt, SignatureInvalid
from tasks.records import Training
from tasks.settings import Settings
from tasks.store.base import Store
from tasks.versions.fetch import clear_leftovers, fetch_version
from tasks.versions.signing import Trust
from tests.helpers import killable
from tests.helpers.saved_models import write_saved_model
from tests.helpers.versions import publish_version

LARGE = random.Random(2).randbytes(17 << 20)  # brought in two parts
WEIGHTS = "variables/variables.data-00000-of-00001"


@pytest.fixture
def published(store: Store, trust: Trust, tmp_path: Path) -> Path:
    """The folder of a version, published as version 1."""
    folder = write_saved_model(tmp_path / "model", LARGE)
    publish_version(store, trust, "MLP", folder, signatures={}, golden=None, training=Training(), run="test")
    return folder


@pytest.fixture
def trust(store_settings: Settings) -> Trust:
    """What this test's own settings ask of a version."""
    return Trust.of(store_settings)


def files(directory: Path) -> dict[str, bytes]:
    return {p.relative_to(directory).as_posix(): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


def numbers(models: Path) -> list[str]:
    """Names of the folders that a model server would read."""
    return [p.name for p in (models / "MLP").glob("*") if p.name.isdigit()]


@pytest.mark.parametrize("share", [0.2, pytest.param(1.0, marks=pytest.mark.soak)])
def test_a_killed_fetch_leaves_a_whole_version_or_none(
    store_settings: Settings, store: Store, trust: Trust, published: Path, tmp_path: Path, share: float
) -> None:
    """`share` of the steps are died at, the last among them."""
    whole = killable.Process(killable.fetch, store_settings, "MLP", tmp_path / "whole").end()
    assert (whole.version, whole.error) == (1, "")
    expected = files(published)

    def die_at(step: int) -> None:
        models = tmp_path / f"dies-at-{step}"
        killed = killable.Process(killable.fetch, store_settings, "MLP", models, die_at=step).end()
        assert killed.killed, killed
        if numbers(models):
            assert files(models / "MLP" / "1") == expected
        clear_leftovers(models)
        assert files(fetch_version(store, trust, "MLP", 1, models)) == expected
        assert [p.name for p in (models / "MLP").iterdir()] == ["1"]

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(die_at, range(whole.steps, 0, -round(1 / share))))


def test_processes_that_fetch_one_version_into_one_folder_at_once_all_have_it(
    store_settings: Settings, published: Path, tmp_path: Path
) -> None:
    start = killable.barrier(4)
    running = [killable.Process(killable.fetch, store_settings, "MLP", tmp_path / "models", start) for _ in range(4)]
    assert [(e.version, e.error) for e in (process.end() for process in running)] == [(1, "")] * 4
    assert files(tmp_path / "models" / "MLP" / "1") == files(published)
    assert [p.name for p in (tmp_path / "models" / "MLP").iterdir()] == ["1"]


@pytest.mark.soak
def test_fetching_a_large_version_needs_little_more_memory_than_a_small_one(
    store_settings: Settings, store: Store, trust: Trust, tmp_path: Path
) -> None:
    for model, weights in (("small", b"weights"), ("large", LARGE * 6)):
        folder = write_saved_model(tmp_path / model, weights)
        publish_version(store, trust, model, folder, signatures={}, golden=None, training=Training(), run="test")
    small, large = (
        killable.Process(killable.fetch, store_settings, model, tmp_path / "models").end()
        for model in ("small", "large")
    )
    assert (small.version, large.version) == (1, 1)
    assert large.grown - small.grown < 32 << 20


def test_a_flipped_byte_of_a_signed_version_is_never_on_the_disk_under_a_number(
    store: Store, trust: Trust, published: Path, tmp_path: Path
) -> None:
    store.put(f"models/MLP/1/{WEIGHTS}", LARGE[:-1] + bytes([LARGE[-1] ^ 1]))
    with pytest.raises(Corrupt, match="is not what was published"):
        fetch_version(store, trust, "MLP", 1, tmp_path / "models")
    assert not list((tmp_path / "models" / "MLP").iterdir())


def test_a_version_of_another_signer_is_refused(
    store: Store, store_settings: Settings, published: Path, tmp_path: Path
) -> None:
    other = Settings(home=tmp_path / "other")
    ensure_key_pair(other)
    with pytest.raises(SignatureInvalid, match="MLP version 1"):
        fetch_version(store, Trust(other.public_key), "MLP", 1, tmp_path / "models")
    assert not (tmp_path / "models").exists()

"""Any number of publishers at once, any of which may be killed: whole versions, each number once."""

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tasks.records import Training
from tasks.settings import Settings
from tasks.store import keys
from tasks.store.base import Store
from tasks.versions import catalog
from tasks.versions.fetch import fetch_version
from tasks.versions.signing import Trust
from tests.helpers import killable
from tests.helpers.saved_models import write_saved_model
from tests.helpers.stores import s3_client
from tests.helpers.versions import claimed_numbers, publish_version

LARGE = random.Random(1).randbytes(17 << 20)  # sent in two parts


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_saved_model(tmp_path_factory.mktemp("large") / "model", LARGE)


def folders(store: Store, model: str) -> list[int]:
    """Numbers under which files lie."""
    return sorted(int(name) for name in store.children(keys.versions_prefix(model)) if name.isdigit())


def unfinished(settings: Settings) -> list[str]:
    """Keys of uploads in parts that nobody ended."""
    found = s3_client(settings).list_multipart_uploads(Bucket=settings.bucket)
    return [upload["Key"] for upload in found.get("Uploads", [])]


@pytest.mark.parametrize("count", [4, pytest.param(16, marks=pytest.mark.soak)])
def test_processes_that_publish_at_once_each_have_a_version_of_their_own(
    store: Store, store_settings: Settings, tmp_path: Path, count: int
) -> None:
    models = [write_saved_model(tmp_path / str(n), f"weights {n}".encode()) for n in range(count)]
    start = killable.barrier(count)
    running = [killable.Process(killable.publish, store_settings, "MLP", model, start) for model in models]
    ended = [process.end() for process in running]
    assert [e.error for e in ended] == [""] * count
    assert sorted(e.version for e in ended) == list(range(1, count + 1))
    assert catalog.published(store, "MLP") == claimed_numbers(store, "MLP") == list(range(1, count + 1))
    for model, e in zip(models, ended, strict=True):
        fetched = fetch_version(store, Trust.of(store_settings), "MLP", e.version, tmp_path / "models")
        weights = "variables/variables.data-00000-of-00001"
        assert (fetched / weights).read_bytes() == (model / weights).read_bytes()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("share", [0.2, pytest.param(1.0, marks=pytest.mark.soak)])
def test_a_killed_publisher_leaves_no_half_version_and_its_number_is_not_used_again(
    store: Store, store_settings: Settings, large: Path, tmp_path: Path, share: float
) -> None:
    """`share` of the steps are died at, the last among them."""
    whole = killable.Process(killable.publish, store_settings, "whole", large).end()
    assert (whole.version, whole.error) == (1, "")
    small = write_saved_model(tmp_path / "small")

    def die_at(step: int) -> None:
        model = f"dies-at-{step}"
        killed = killable.Process(killable.publish, store_settings, model, large, die_at=step).end()
        assert killed.killed, killed
        claimed, published = claimed_numbers(store, model), catalog.published(store, model)
        assert published in ([], [1])
        if published:
            assert fetch_version(store, Trust.of(store_settings), model, 1, tmp_path / "models").is_dir()
        following = publish_version(
            store,
            Trust.of(store_settings),
            model,
            small,
            signatures={},
            golden=None,
            training=Training(),
            run=f"after {step}",
        ).version
        assert following == len(claimed) + 1
        catalog.discard_abandoned(store, model, grace=-60)
        assert catalog.published(store, model) == [*published, following]
        assert folders(store, model) == catalog.published(store, model)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(die_at, range(whole.steps, 0, -round(1 / share))))
    assert unfinished(store_settings) == []


def test_of_a_publisher_and_whoever_closes_its_number_one_wins(
    store: Store, store_settings: Settings, tmp_path: Path
) -> None:
    """Publishers and sweepers that take every claim for abandoned, all at once."""
    folder = write_saved_model(tmp_path / "model")
    start = killable.barrier(8)
    publishers = [killable.Process(killable.publish, store_settings, "MLP", folder, start) for _ in range(8)]
    while any(process.runs for process in publishers):
        catalog.discard_abandoned(store, "MLP", grace=-60)
    ended = [process.end() for process in publishers]
    won = [e.version for e in ended if e.version]
    assert all("was closed or taken while its files were sent" in e.error for e in ended if not e.version), ended
    catalog.discard_abandoned(store, "MLP", grace=-60)
    assert catalog.published(store, "MLP") == sorted(won)
    assert folders(store, "MLP") == sorted(won)
    for number in won:
        assert fetch_version(store, Trust.of(store_settings), "MLP", number, tmp_path / "models").is_dir()


@pytest.mark.soak
def test_publishing_a_large_version_needs_little_more_memory_than_a_small_one(
    store_settings: Settings, tmp_path: Path
) -> None:
    small = write_saved_model(tmp_path / "small")
    large = write_saved_model(tmp_path / "large", LARGE * 6)
    ended = [killable.Process(killable.publish, store_settings, "MLP", folder).end() for folder in (small, large)]
    assert [e.version for e in ended] == [1, 2]
    assert ended[1].grown - ended[0].grown < 32 << 20

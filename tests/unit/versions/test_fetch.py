"""What a model server may read is whole, its publisher's, and harmless; anything else never gets a number."""

import shutil
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from infra.stack import secrets
from tasks.errors import Corrupt, ForbiddenOps, InvalidName, InvalidSettings, NotFound, SignatureInvalid
from tasks.fleet.config import parse, serving_entry, with_entries
from tasks.fleet.converge import write_config
from tasks.records import FileEntry, Manifest, Training
from tasks.settings import Settings
from tasks.store import keys
from tasks.store.base import Store
from tasks.versions import catalog, fetch, kept
from tasks.versions.signing import Trust
from tasks.wire.protos import ModelServerConfig
from tests.helpers.saved_models import write_saved_model
from tests.helpers.stores import MemoryStore
from tests.helpers.versions import UNSIGNED, publish_version

WEIGHTS = "models/MLP/1/variables/variables.data-00000-of-00001"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return write_saved_model(tmp_path / "model")


@pytest.fixture
def manifest(store: Store, directory: Path) -> Manifest:
    return publish(store, directory)


def publish(store: Store, directory: Path, trust: Trust = UNSIGNED) -> Manifest:
    return publish_version(store, trust, "MLP", directory, signatures={}, golden=None, training=Training(), run="test")


def files(directory: Path) -> dict[str, bytes]:
    return {p.relative_to(directory).as_posix(): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


def seen(models: Path) -> list[str]:
    """What a model server would read: everything under a folder that is a number."""
    return [str(p) for folder in models.glob("*/*") if folder.name.isdigit() for p in folder.rglob("*")]


def rewrite(store: Store, manifest: Manifest) -> None:
    store.put(keys.manifest_key("MLP", 1), manifest.to_json())


def test_a_version_arrives_as_it_was_published(
    store: Store, manifest: Manifest, directory: Path, tmp_path: Path
) -> None:
    target = fetch.fetch_version(store, UNSIGNED, "MLP", 1, tmp_path / "models")
    assert target == tmp_path / "models" / "MLP" / "1"
    assert files(target) == files(directory)
    assert fetch.local_versions(tmp_path / "models", "MLP") == [1]
    assert [p.name for p in target.parent.iterdir()] == ["1"]


def test_a_version_that_is_there_costs_nothing(store: Store, manifest: Manifest, tmp_path: Path) -> None:
    first = fetch.fetch_version(store, UNSIGNED, "MLP", 1, tmp_path / "models")
    store.delete_all("models/")
    assert fetch.fetch_version(store, UNSIGNED, "MLP", 1, tmp_path / "models") == first


HARM: dict[str, Callable[[Store, Manifest], None]] = {
    "a flipped byte": lambda store, _: store.put(WEIGHTS, b"weighus"),
    "a byte too many": lambda store, _: store.put(WEIGHTS, b"weights!"),
    "a missing file": lambda store, _: store.delete(WEIGHTS),
    "an extra file": lambda store, _: store.put("models/MLP/1/assets/extra", b""),
    "a file listed twice": lambda store, m: rewrite(store, replace(m, files=(*m.files, m.files[0]))),
    "a file as a folder": lambda store, m: rewrite(
        store, replace(m, files=(*m.files, replace(m.files[0], path=f"{m.files[0].path}/below")))
    ),
    "a manifest of another version": lambda store, m: rewrite(store, replace(m, version=2)),
    "a manifest of another model": lambda store, m: rewrite(store, replace(m, model="Other")),
    "a cut-off manifest": lambda store, m: store.put(keys.manifest_key("MLP", 1), m.to_json()[:-9]),
    "a manifest without files": lambda store, m: rewrite(store, replace(m, files=())),
}


@pytest.mark.parametrize("kind", HARM)
def test_what_is_not_as_published_never_gets_a_number(
    store: Store, manifest: Manifest, tmp_path: Path, kind: str
) -> None:
    HARM[kind](store, manifest)
    with pytest.raises(Corrupt):
        fetch.fetch_version(store, UNSIGNED, "MLP", 1, tmp_path / "models")
    assert seen(tmp_path / "models") == []
    assert not list((tmp_path / "models").glob("*/*"))


@pytest.mark.parametrize(
    "path",
    [
        "../2/saved_model.pb",
        "a/../../../x",
        "/etc/cron.d/x",
        "..",
        ".",
        "",
        "a//b",
        "./a",
        "a/",
        "a\\..\\..\\b",
        "C:\\x",
        "a\0b",
        "a\nb",
        "x" * 256,
    ],
)
def test_a_path_that_leaves_the_folder_is_refused_before_anything_is_brought(
    store: Store, manifest: Manifest, tmp_path: Path, path: str
) -> None:
    rewrite(store, replace(manifest, files=(*manifest.files, FileEntry(path, 1, "00"))))
    with pytest.raises(Corrupt, match="leaves the version's folder"):
        fetch.fetch_version(store, UNSIGNED, "MLP", 1, tmp_path / "models")
    assert list(tmp_path.iterdir()) == [tmp_path / "model"]


@pytest.mark.parametrize("name", ["../../etc", "/etc", "a/b", ".."])
def test_a_model_whose_name_leaves_the_folder_is_refused(store: Store, tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidName):
        fetch.fetch_version(store, UNSIGNED, name, 1, tmp_path / "models")


def test_a_folder_that_some_tool_drew_in_the_store_is_no_extra_file(
    store: Store, manifest: Manifest, tmp_path: Path
) -> None:
    store.put("models/MLP/1/", b"")
    store.put("models/MLP/1/assets/", b"")
    assert fetch.fetch_version(store, UNSIGNED, "MLP", 1, tmp_path / "models").is_dir()


def test_a_version_that_does_not_exist_or_was_given_up_is_not_found(store: Store, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        fetch.fetch_version(store, UNSIGNED, "MLP", 1, tmp_path / "models")
    catalog.close(store, "MLP", 1)
    with pytest.raises(NotFound):
        fetch.fetch_version(store, UNSIGNED, "MLP", 1, tmp_path / "models")


def test_an_unsigned_version_never_gets_a_number(store: Store, manifest: Manifest, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    secrets.ensure_key_pair(settings)
    with pytest.raises(SignatureInvalid):
        fetch.fetch_version(store, Trust.of(settings), "MLP", 1, tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_a_signed_version_with_a_flipped_byte_never_gets_a_number(
    store: Store, directory: Path, tmp_path: Path
) -> None:
    settings = Settings(home=tmp_path / "home")
    secrets.ensure_key_pair(settings)
    publish(store, directory, Trust.of(settings))
    store.put(WEIGHTS, b"weighus")
    with pytest.raises(Corrupt, match="is not what was published"):
        fetch.fetch_version(store, Trust.of(settings), "MLP", 1, tmp_path / "models")
    assert seen(tmp_path / "models") == []


def test_a_graph_that_reads_files_is_refused_at_the_replica_too(store: Store, tmp_path: Path) -> None:
    careless = Trust(None, allowed_ops=frozenset({"ReadFile"}))
    publish(store, write_saved_model(tmp_path / "model", b"", "ReadFile"), careless)
    with pytest.raises(ForbiddenOps, match="ReadFile in node 'the-ReadFile' of the graph"):
        fetch.fetch_version(store, UNSIGNED, "MLP", 1, tmp_path / "models")
    assert seen(tmp_path / "models") == []
    assert fetch.fetch_version(store, careless, "MLP", 1, tmp_path / "models").is_dir()


def test_a_full_disk_is_an_error_before_the_download(
    store: Store, manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1 << 40, 1 << 40, 1 << 20))
    with pytest.raises(InvalidSettings, match=r"has 1 MiB free; MLP version 1 needs 64 MiB.*SLIPWAY_MODELS_DIR"):
        fetch.fetch_version(store, UNSIGNED, "MLP", 1, tmp_path / "models")
    assert list((tmp_path / "models").iterdir()) == []


def test_a_folder_that_cannot_be_written_to_is_named(store: Store, manifest: Manifest, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "MLP").write_text("a file where the model's folder should be")
    with pytest.raises(InvalidSettings, match=r"models cannot take MLP version 1"):
        fetch.fetch_version(store, UNSIGNED, "MLP", 1, tmp_path / "models")


def test_something_else_in_a_versions_place_is_an_error_and_stays(
    store: Store, manifest: Manifest, tmp_path: Path
) -> None:
    place = tmp_path / "models" / "MLP" / "1"
    place.parent.mkdir(parents=True)
    place.write_text("a file")
    with pytest.raises(InvalidSettings, match=r"models cannot take MLP version 1"):
        fetch.fetch_version(store, UNSIGNED, "MLP", 1, tmp_path / "models")
    assert place.read_text() == "a file"
    assert list(place.parent.iterdir()) == [place]


def test_many_fetches_at_once_into_one_folder_all_succeed(
    store: Store, manifest: Manifest, directory: Path, tmp_path: Path
) -> None:
    with ThreadPoolExecutor(4) as pool:
        targets = list(
            pool.map(lambda _: fetch.fetch_version(store, UNSIGNED, "MLP", 1, tmp_path / "models"), range(4))
        )
    assert set(targets) == {tmp_path / "models" / "MLP" / "1"}
    assert files(targets[0]) == files(directory)
    assert [p.name for p in targets[0].parent.iterdir()] == ["1"]


def test_leftovers_of_the_dead_are_cleared_and_the_work_of_the_living_stays(tmp_path: Path) -> None:
    dead, leaving = tmp_path / "MLP" / ".incoming-7-dead", tmp_path / "MLP" / ".outgoing-6-dead"
    for folder in (dead, leaving, tmp_path / "MLP" / "5"):
        folder.mkdir(parents=True)
        (folder / "saved_model.pb").write_bytes(b"")
    with fetch._staging(tmp_path / "MLP" / "8") as alive:
        fetch.clear_leftovers(tmp_path)
        assert sorted(p.name for p in (tmp_path / "MLP").iterdir()) == [alive.name, "5"]


def test_only_numbers_are_versions_on_the_disk(tmp_path: Path) -> None:
    for name in ("3", "12", ".incoming-4-x", "x", "²"):
        (tmp_path / "MLP" / name).mkdir(parents=True)
    assert fetch.local_versions(tmp_path, "MLP") == [3, 12]
    assert fetch.local_versions(tmp_path, "Other") == []
    fetch.remove_version(tmp_path, "MLP", 3)
    fetch.remove_version(tmp_path, "MLP", 3)
    assert fetch.local_versions(tmp_path, "MLP") == [12]


def alter_a_file(folder: Path) -> None:
    path = folder / "variables" / "variables.data-00000-of-00001"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[::-1])


def add_a_file(folder: Path) -> None:
    (folder / "assets.extra").mkdir()
    (folder / "assets.extra" / "more").write_bytes(b"x")


def replace_a_file_by_a_link(folder: Path) -> None:
    (folder / "saved_model.pb").rename(folder.parent / "there")
    (folder / "saved_model.pb").symlink_to(folder.parent / "there")


ALTERATIONS: dict[str, Callable[[Path], object]] = {
    "a file altered": alter_a_file,
    "a file added": add_a_file,
    "a file removed": lambda folder: (folder / "saved_model.pb").unlink(),
    "a file linked": replace_a_file_by_a_link,
    "its manifest altered": lambda folder: (folder.parents[1] / ".manifests/MLP/1.json").write_bytes(b"{}"),
    "its manifest removed": lambda folder: (folder.parents[1] / ".manifests/MLP/1.json").unlink(),
    "its signature removed": lambda folder: (folder.parents[1] / ".manifests/MLP/1.sig").unlink(),
}


@pytest.fixture
def fetched(store: Store, directory: Path, tmp_path: Path) -> tuple[Trust, Path]:
    """A signed version on the disk, as an earlier process fetched it; and who is trusted."""
    settings = Settings(home=tmp_path / "home")
    secrets.ensure_key_pair(settings)
    trust = Trust.of(settings)
    publish(store, directory, trust)
    folder = fetch.fetch_version(store, trust, "MLP", 1, tmp_path / "models")
    fetch._verified.clear()
    return trust, folder


@pytest.mark.parametrize("altered", ALTERATIONS)
def test_what_was_altered_on_the_disk_is_fetched_again(
    store: Store, directory: Path, fetched: tuple[Trust, Path], altered: str, caplog: pytest.LogCaptureFixture
) -> None:
    trust, folder = fetched
    ALTERATIONS[altered](folder)
    assert fetch.fetch_version(store, trust, "MLP", 1, folder.parents[1]) == folder
    assert files(folder) == files(directory)
    assert "It is fetched again." in caplog.text


def test_what_is_unaltered_is_served_though_the_store_is_away(fetched: tuple[Trust, Path]) -> None:
    trust, folder = fetched
    assert fetch.fetch_version(MemoryStore(), trust, "MLP", 1, folder.parents[1]) == folder


def test_what_another_key_signed_is_not_served_though_its_files_fit(
    store: Store, fetched: tuple[Trust, Path], tmp_path: Path
) -> None:
    _, folder = fetched
    settings = Settings(home=tmp_path / "other")
    secrets.ensure_key_pair(settings)
    with pytest.raises(SignatureInvalid):
        fetch.fetch_version(store, Trust.of(settings), "MLP", 1, folder.parents[1])


@pytest.mark.parametrize("altered", [None, *ALTERATIONS])
def test_a_model_server_starts_once_altered_versions_are_removed(
    fetched: tuple[Trust, Path], altered: str | None
) -> None:
    trust, folder = fetched
    if altered is not None:
        ALTERATIONS[altered](folder)
    models, config = folder.parents[1], folder.parents[2] / "models.config"
    entries = {name: serving_entry(name, str(models / name), [1], {}) for name in ("MLP", "Other")}
    write_config(config, with_entries(ModelServerConfig(), entries))
    arguments = [str(models), str(config), str(trust.public_key), "ls", str(models / "MLP")]
    done = subprocess.run(
        [sys.executable, "-m", "infra.stack.verify_models", *arguments], capture_output=True, text=True, check=True
    )
    assert ("1" in done.stdout.split()) is (altered is None)
    assert ("It is removed, and fetched again." in done.stderr) is (altered is not None)
    served = [entry.name for entry in parse(config.read_text(), "").model_config_list.config]
    assert served == (["MLP", "Other"] if altered is None else ["Other"])


def test_a_trusted_key_that_is_not_there_removes_no_version(fetched: tuple[Trust, Path]) -> None:
    _, folder = fetched
    models = folder.parents[1]
    command = [
        sys.executable,
        "-m",
        "infra.stack.verify_models",
        str(models),
        str(models),
        str(models / "no.pub"),
        "ls",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, folder.exists()) == (1, True)
    assert done.stderr.startswith(f"There is no trusted key {models / 'no.pub'}")


def test_the_manifests_of_a_model_whose_name_is_a_number_are_no_version(tmp_path: Path) -> None:
    kept.keep(tmp_path, "7", 3, b"{}", None)
    assert fetch.local_versions(tmp_path, ".manifests") == []

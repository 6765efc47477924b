"""A version becomes visible in one last step, whole, or not at all."""

import os
import re
from pathlib import Path

import pytest

from tasks.errors import (
    ForbiddenOps,
    InvalidName,
    InvalidSavedModel,
    InvalidSettings,
    StoreError,
    StoreUnreachable,
    StoreUnsuitable,
)
from tasks.records import FileEntry, Manifest, Training
from tasks.savedmodel.content import content_id, describe_files
from tasks.settings import Settings
from tasks.store import keys
from tasks.store.base import Store
from tasks.versions import catalog
from tasks.versions.signing import Trust
from tests.helpers.fake_s3 import FakeS3
from tests.helpers.saved_models import write_saved_model
from tests.helpers.stores import WatchedStore
from tests.helpers.versions import UNSIGNED, publish_version


def publish(store: Store, directory: Path, model: str = "MLP", trust: Trust = UNSIGNED) -> Manifest:
    return publish_version(store, trust, model, directory, signatures={}, golden=None, training=Training(), run="test")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return write_saved_model(tmp_path / "model")


def test_the_folder_of_a_version_holds_its_files_and_nothing_else(store: Store, directory: Path) -> None:
    manifest = publish(store, directory)
    prefix = keys.version_prefix("MLP", manifest.version)
    assert {key.removeprefix(prefix): store.get(key) for key in store.keys(prefix)} == {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def test_the_manifest_is_written_last(store: Store, directory: Path) -> None:
    writes: list[str] = []

    def watch(method: str, key: str) -> None:
        if method in ("create", "put", "upload_all") and not key.startswith("probes/"):
            writes.append(key)

    publish(WatchedStore(store, watch), directory)
    assert writes[:2] == ["models/MLP/claims/1.json", "models/MLP/1/fingerprint.pb"]
    assert writes[2].startswith("models/MLP/contents/")
    assert writes[3:] == ["models/MLP/manifests/1.json"]


def test_a_publisher_that_fails_leaves_a_claimed_number_and_nothing_else(store: Store, directory: Path) -> None:
    def fail(method: str, key: str) -> None:
        if (method, key) == ("create", "models/MLP/manifests/1.json") and not failed:
            failed.append(key)
            raise StoreUnreachable("away")

    failed: list[str] = []
    watched = WatchedStore(store, fail)
    with pytest.raises(StoreUnreachable, match="away"):
        publish(watched, directory)
    assert store.keys(keys.version_prefix("MLP", 1)) == []
    assert catalog.published(store, "MLP") == []
    assert publish(watched, directory).version == 2


def test_a_publisher_whose_number_was_closed_meanwhile_is_told_and_leaves_nothing(
    store: Store, directory: Path
) -> None:
    def close_first(method: str, key: str) -> None:
        if (method, key) == ("create", "models/MLP/manifests/1.json"):
            assert catalog.close(store, "MLP", 1)

    with pytest.raises(StoreError, match=r"Number 1 of MLP was closed .*publish again"):
        publish(WatchedStore(store, close_first), directory)
    assert store.keys(keys.version_prefix("MLP", 1)) == []
    assert publish(store, directory).version == 2
    assert catalog.published(store, "MLP") == [2]


def test_a_publisher_whose_files_were_swept_away_meanwhile_is_told(store: Store, directory: Path) -> None:
    def sweep(method: str, key: str) -> None:
        if (method, key) == ("objects", "models/MLP/1/"):
            catalog.discard(store, "MLP", 1)

    with pytest.raises(StoreError, match="was closed"):
        publish(WatchedStore(store, sweep), directory)
    assert catalog.published(store, "MLP") == []


def test_a_folder_that_is_written_to_meanwhile_is_not_published(store: Store, directory: Path) -> None:
    def write(method: str, _: str) -> None:
        if method == "upload_all":
            weights = directory / "variables" / "variables.data-00000-of-00001"
            os.utime(weights, ns=(0, 0))

    with pytest.raises(InvalidSavedModel, match="was written to while it was published"):
        publish(WatchedStore(store, write), directory)
    assert catalog.published(store, "MLP") == []


def test_a_folder_that_vanishes_meanwhile_is_not_published(store: Store, directory: Path) -> None:
    def remove(method: str, _: str) -> None:
        if method == "upload_all":
            (directory / "fingerprint.pb").unlink()

    with pytest.raises(InvalidSavedModel, match="cannot be read any more"):
        publish(WatchedStore(store, remove), directory)


def harm(directory: Path, kind: str) -> None:
    if kind == "a link":
        (directory / "link").symlink_to("/etc/passwd")
    elif kind == "a linked folder":
        (directory / "assets").symlink_to("/etc")
    elif kind == "a pipe":
        os.mkfifo(directory / "pipe")
    elif kind == "a backslash":
        (directory / "a\\b").write_bytes(b"")
    elif kind == "a line break":
        (directory / "a\nb").write_bytes(b"")
    elif kind == "no graph":
        (directory / "saved_model.pb").unlink()
    elif kind == "a cut-off graph":
        (directory / "saved_model.pb").write_bytes(b"\x0a\xff")
    elif kind == "an empty graph":
        (directory / "saved_model.pb").write_bytes(b"")
    elif kind == "another form of the graph":
        (directory / "saved_model.pbtxt").write_bytes(b"")


@pytest.mark.parametrize(
    "kind",
    [
        "a link",
        "a linked folder",
        "a pipe",
        "a backslash",
        "a line break",
        "no graph",
        "a cut-off graph",
        "an empty graph",
        "another form of the graph",
    ],
)
def test_a_folder_without_a_saved_model_is_refused_before_a_number_is_claimed(
    store: Store, directory: Path, kind: str
) -> None:
    harm(directory, kind)
    with pytest.raises(InvalidSavedModel, match=re.escape(str(directory))):
        publish(store, directory)
    assert store.keys("") == []


def test_a_folder_that_does_not_exist_is_named(store: Store, tmp_path: Path) -> None:
    with pytest.raises(InvalidSavedModel, match="nowhere is not a folder"):
        publish(store, tmp_path / "nowhere")


def test_a_name_that_no_url_can_hold_is_refused_before_a_number_is_claimed(store: Store, directory: Path) -> None:
    with pytest.raises(InvalidName, match="'a/b'"):
        publish(store, directory, "a/b")
    assert store.keys("") == []


def test_a_graph_that_reads_files_is_refused_before_a_number_is_claimed(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ForbiddenOps, match="SLIPWAY_ALLOWED_OPS=ReadFile"):
        publish(store, write_saved_model(tmp_path / "model", b"", "ReadFile"))
    assert store.keys("") == []


def test_a_graph_that_reads_files_is_published_where_that_is_allowed(store: Store, tmp_path: Path) -> None:
    lenient = Trust(None, allowed_ops=frozenset({"ReadFile"}))
    assert publish(store, write_saved_model(tmp_path / "model", b"", "ReadFile"), trust=lenient).version == 1


def test_without_a_signing_key_nothing_is_claimed(store: Store, directory: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="SLIPWAY_SIGNING_KEY"):
        publish(store, directory, trust=Trust.of(Settings(home=tmp_path)))
    assert store.keys("") == []


def test_into_a_store_without_create_if_absent_nothing_is_published(fake_s3: FakeS3, directory: Path) -> None:
    fake_s3.conditional = False
    with pytest.raises(StoreUnsuitable):
        publish(fake_s3.store(), directory)
    assert fake_s3.objects == {}


def test_files_are_described_with_size_and_sha256_sorted_by_path(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c").write_bytes(b"")
    (tmp_path / "a").write_bytes(b"abc")
    assert describe_files(tmp_path) == [
        FileEntry("a", 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        FileEntry("b/c", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
    ]


def test_the_content_id_knows_the_weights_but_not_the_fingerprint(tmp_path: Path) -> None:
    one, same, other = (
        write_saved_model(tmp_path / name, weights) for name, weights in (("1", b"w"), ("2", b"w"), ("3", b"v"))
    )
    (same / "fingerprint.pb").write_bytes(b"another")
    assert content_id(describe_files(one)) == content_id(describe_files(same))
    assert content_id(describe_files(one)) != content_id(describe_files(other))

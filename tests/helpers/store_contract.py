"""What every store promises (`tasks.store.base.Store`), as tests: a class of tests for one kind inherits these."""

import hashlib
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tasks.errors import Corrupt, NotFound
from tasks.records import Build, Claim, Training
from tasks.savedmodel.content import describe_files
from tasks.store.base import Store
from tasks.store.transfer import Wanted, download_all
from tasks.versions import catalog
from tasks.versions.fetch import fetch_version
from tasks.versions.publish import publish
from tests.helpers.saved_models import write_saved_model
from tests.helpers.versions import UNSIGNED

LARGE = random.Random(1).randbytes(17 << 20)  # more than is sent or asked for at a time


class StoreContract:
    """The promises of a store, whichever it is; the fixture `store` is an empty one."""

    def test_only_the_first_of_two_creates_writes(self, store: Store) -> None:
        assert store.create("k", b"first")
        assert not store.create("k", b"second")
        assert store.get("k") == b"first"

    def test_a_create_of_what_is_there_already_is_one_whose_answer_was_lost(self, store: Store) -> None:
        assert store.create("k", b"mine")
        assert store.create("k", b"mine")

    def test_of_16_writers_racing_for_a_key_exactly_one_wins(self, store: Store) -> None:
        for n in range(5):
            with ThreadPoolExecutor(16) as pool:
                won = list(pool.map(lambda writer, n=n: store.create(f"race/{n}", f"{writer}".encode()), range(16)))
            assert won.count(True) == 1
            assert store.get(f"race/{n}") == f"{won.index(True)}".encode()

    def test_what_was_deleted_may_be_created_again(self, store: Store) -> None:
        assert store.create("k", b"first")
        store.delete("k")
        assert store.create("k", b"second")
        store.delete_once("k")
        assert store.find("k") is None

    def test_an_object_without_bytes_is_there_like_any_other(self, store: Store) -> None:
        assert store.create("empty", b"")
        assert not store.create("empty", b"something")
        assert store.create("empty", b"")
        assert store.get("empty") == b""
        assert [(o.key, o.size) for o in store.objects("")] == [("empty", 0)]

    def test_a_reader_meets_one_of_the_writes_and_never_a_mixture(self, store: Store) -> None:
        writes = [bytes([n]) * 100_000 for n in range(20)]
        store.put("k", writes[0])
        done = threading.Event()

        def read() -> set[bytes]:
            found = set()
            while not done.is_set():
                found.add(store.get("k"))
            return found

        with ThreadPoolExecutor(2) as pool:
            readers = [pool.submit(read) for _ in range(2)]
            for data in writes:
                store.put("k", data)
                assert store.get("k") == data
            done.set()
            assert all(reader.result() <= set(writes) for reader in readers)

    def test_what_is_not_there_is_not_found_and_may_be_deleted(self, store: Store) -> None:
        assert store.find("a/k") is None
        assert store.find_record("a/k", Claim) is None
        with pytest.raises(NotFound, match="a/k"):
            store.get("a/k")
        with pytest.raises(NotFound, match="a/k"):
            list(store.stream("a/k", 3, 5))
        store.delete("a/k")
        store.delete_once("a/k")
        assert store.objects("a/") == []
        assert store.children("a/") == []
        assert store.delete_all("a/") == 0

    def test_a_part_of_an_object_is_read_alone(self, store: Store) -> None:
        store.put("k", b"0123456789")
        assert b"".join(store.stream("k", 3, 5)) == b"34"
        assert b"".join(store.stream("k", 3)) == b"3456789"
        assert b"".join(store.stream("k", 8, 20)) == b"89"
        assert b"".join(store.stream("k", stop=1)) == b"0"
        with pytest.raises(Corrupt, match=r"k is shorter than it should be"):
            list(store.stream("k", 11, 20))

    def test_a_record_comes_back_and_what_is_none_is_named(self, store: Store) -> None:
        claim = Claim(model="MLP", version=7, run="run")
        store.put("claim", claim.to_json())
        store.put("other", b"{")
        assert store.find_record("claim", Claim) == claim
        with pytest.raises(Corrupt) as error:
            store.find_record("other", Claim)
        assert store.uri("other") in str(error.value)

    def test_records_of_a_folder_are_read_without_those_that_cannot_be(
        self, store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        claims = {f"claims/{number}.json": Claim(model="MLP", version=number, run="run") for number in range(40)}
        for key, claim in claims.items():
            store.put(key, claim.to_json())
        for name, data in (("bad.json", b"\xff"), ("large.json", b" " * 3000), ("notes.txt", b"{"), ("x/1.json", b"{")):
            store.put(f"claims/{name}", data)
        monkeypatch.setattr("tasks.store.base.LARGEST", 2000)
        found = store.records("claims/", Claim)
        assert [(there.key, claim) for there, claim in found] == sorted(claims.items())
        assert all(there.age < 600 for there, _ in found)
        warned = [name for name in ("bad.json", "large.json", "notes.txt", "x/1.json") if name in caplog.text]
        assert warned == ["bad.json", "large.json"]

    def test_keys_of_every_kind_come_back_as_they_were_in_their_order(self, store: Store) -> None:
        keys = sorted(["a/b", "a b+c%20ü&?#", "a/é", "a-b", "a/b-c/d", "a.b", "b/10", "b/9"])
        for key in keys:
            store.put(key, key.encode())
        assert store.keys("") == keys
        assert store.keys("a/", after="a/b") == ["a/b-c/d", "a/é"]
        assert store.keys("b/", after="a/é") == ["b/10", "b/9"]
        assert [store.get(key).decode() for key in keys] == keys

    def test_a_listing_tells_sizes_ages_and_folders(self, store: Store) -> None:
        store.put("a/2", b"22")
        store.put("a/1", b"1")
        store.put("b/c/1", b"")
        assert [(o.key, o.size) for o in store.objects("a/")] == [("a/1", 1), ("a/2", 2)]
        assert all(-2 <= o.age <= 30 for o in store.objects(""))
        assert store.children("") == ["a", "b"]
        assert store.children("b/") == ["c"]
        assert store.children("a/") == []

    def test_a_listing_of_more_than_a_thousand_keys_is_whole(self, store: Store) -> None:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda n: store.put(f"many/{n:05d}", b""), range(1_005)))
        assert store.keys("many/") == [f"many/{n:05d}" for n in range(1_005)]
        assert store.keys("many/", after="many/01003") == ["many/01004"]

    def test_deleting_a_folder_leaves_its_neighbours(self, store: Store) -> None:
        for key in ("m/7/a", "m/7/b/c", "m/71/a", "m/8"):
            store.put(key, b"")
        assert store.delete_all("m/7/") == 2
        assert store.keys("m/") == ["m/71/a", "m/8"]
        assert store.children("m/") == ["71"]
        assert store.delete_all("m/7/") == 0

    def test_files_come_back_as_they_were_sent(self, store: Store, tmp_path: Path) -> None:
        contents = {"x/small": b"small", "x/empty": b"", "x/y/large": LARGE}
        files = {key: tmp_path / key.replace("/", "-") for key in contents}
        for key, path in files.items():
            path.write_bytes(contents[key])
        store.put("x/small", b"what was there")
        store.upload_all(files)
        assert {o.key: o.size for o in store.objects("x/")} == {key: len(data) for key, data in contents.items()}
        assert store.download("x/y/large", tmp_path / "back") == (len(LARGE), hashlib.sha256(LARGE).hexdigest())
        assert (tmp_path / "back").read_bytes() == LARGE
        wanted = [Wanted(key, tmp_path / "all" / key, len(data)) for key, data in contents.items()]
        assert [sha256 for _, sha256 in download_all(store, wanted)] == [
            hashlib.sha256(data).hexdigest() for data in contents.values()
        ]
        assert all(file.path.read_bytes() == contents[file.key] for file in wanted)

    def test_a_file_that_cannot_be_read_is_told_by_the_system(self, store: Store, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="nowhere"):
            store.upload_all({"k": tmp_path / "nowhere"})
        assert store.find("k") is None

    def test_a_download_does_not_write_over_a_file(self, store: Store, tmp_path: Path) -> None:
        store.put("k", b"new")
        (tmp_path / "there").write_bytes(b"old")
        with pytest.raises(FileExistsError):
            store.download("k", tmp_path / "there")
        assert (tmp_path / "there").read_bytes() == b"old"

    def test_a_version_that_was_published_is_fetched_and_once_withdrawn_is_gone(
        self, store: Store, tmp_path: Path
    ) -> None:
        model = write_saved_model(tmp_path / "model", LARGE)
        manifest = publish(store, UNSIGNED, Build("MLP", str(model), {}, None, Training()), "test")
        fetched = fetch_version(store, UNSIGNED, "MLP", manifest.version, tmp_path / "models")
        assert describe_files(fetched) == list(manifest.files)
        assert (catalog.models(store), catalog.published(store, "MLP")) == (["MLP"], [1])
        catalog.withdraw(store, "MLP", 1)
        assert (catalog.published(store, "MLP"), catalog.taken(store, "MLP")) == ([], {1})
        assert store.keys("models/MLP/1/") == []

    def test_an_address_is_the_key_behind_the_stores_own(self, store: Store) -> None:
        assert store.uri("a/b") == store.uri("") + "a/b"
        assert "://" in store.uri("")

    def test_it_is_suitable_and_keeps_nothing_of_the_probe(self, store: Store) -> None:
        store.require_suitable()
        assert store.keys("") == []

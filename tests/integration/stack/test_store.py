"""A real store: races for a key have one winner, and what is wrong with it is said."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from pydantic import SecretStr

from tasks.errors import StoreRefused, StoreUnreachable
from tasks.settings import Settings
from tasks.store.credentials import credentials
from tasks.store.s3 import Store
from tests.helpers.local import LocalStore


def test_of_16_writers_racing_for_a_key_exactly_one_wins(store: Store) -> None:
    for n in range(5):
        with ThreadPoolExecutor(16) as pool:
            won = list(pool.map(lambda writer, n=n: store.create(f"race/{n}", f"{writer}".encode()), range(16)))
        assert won.count(True) == 1
        assert store.get(f"race/{n}") == f"{won.index(True)}".encode()


def test_an_object_without_bytes_is_there_like_any_other(store: Store) -> None:
    assert store.create("empty", b"")
    assert not store.create("empty", b"something")
    assert store.create("empty", b"")
    assert [(o.key, o.size) for o in store.objects("")] == [("empty", 0)]


def test_keys_of_every_kind_come_back_as_they_were_in_their_order(store: Store) -> None:
    keys = sorted(["a/b", "a b+c%20ü&?#", "a/é", "a-b", "a/b-c/d", "a.b"])
    for key in keys:
        store.put(key, key.encode())
    assert store.keys("") == keys
    assert [store.get(key).decode() for key in keys] == keys


def test_a_listing_of_more_than_a_thousand_keys_is_whole(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: store.put(f"many/{n:05d}", b""), range(1_005)))
    assert store.keys("many/") == [f"many/{n:05d}" for n in range(1_005)]
    assert store.keys("many/", after="many/01003") == ["many/01004"]


def test_ages_are_told_by_the_stores_own_clock(store: Store) -> None:
    store.put("now", b"")
    (found,) = store.objects("now")
    assert -2 <= found.age <= 30


def test_a_wrong_secret_is_refused(store_settings: Settings, store: Store) -> None:
    access = str(credentials(store_settings)[0])
    for key, secret in ((access, "wrong"), ("nobody", "wrong")):
        wrong = store_settings.model_copy(update={"s3_access_key": key, "s3_secret_key": SecretStr(secret)})
        with pytest.raises(StoreRefused, match="SLIPWAY_S3_SECRET_KEY"):
            Store.connect(wrong).put("a", b"")


def test_a_store_that_was_stopped_is_unreachable_and_then_there_again(seaweedfs: LocalStore, store: Store) -> None:
    store.put("kept", b"data")
    seaweedfs.kill()
    with pytest.raises(StoreUnreachable, match="Is it running"):
        store.get("kept")
    seaweedfs.start()
    assert store.get("kept") == b"data"

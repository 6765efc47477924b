"""The local store: SeaweedFS as the stack starts it."""

import pytest

from tasks.errors import StoreRefused
from tasks.settings import Settings
from tasks.store import Store
from tests.integration.local import LocalStore


def test_the_local_store_honours_create_if_absent(store: Store) -> None:
    store.require_suitable()
    assert store.create("a", b"first")
    assert not store.create("a", b"second")
    assert store.get("a") == b"first"


def test_what_was_written_outlives_a_kill_of_the_store(weed: LocalStore, store: Store) -> None:
    store.put("kept", b"x" * 100_000)
    weed.kill()
    weed.start()
    assert store.get("kept") == b"x" * 100_000


def test_a_bucket_that_nobody_made_is_named_in_the_error(store_settings: Settings) -> None:
    missing = Store.connect(store_settings.model_copy(update={"bucket": "nobody-made-this"}))
    with pytest.raises(StoreRefused, match="no bucket 'nobody-made-this'"):
        missing.put("a", b"")

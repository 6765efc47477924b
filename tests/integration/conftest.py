"""Servers that integration tests share: started once a session, each in a folder of its own."""

import uuid
from collections.abc import Iterator

import pytest

from tasks.settings import Settings
from tasks.store import Store
from tests.integration.local import LocalStack, LocalStore


@pytest.fixture(scope="session")
def weed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStore]:
    """A real SeaweedFS; `weed.settings` connect to it. Whoever stops or kills it starts it again."""
    local = LocalStore(tmp_path_factory.mktemp("weed"))
    local.start()
    yield local
    local.kill()


@pytest.fixture
def store_settings(weed: LocalStore) -> Settings:
    """Settings of a real store with an empty bucket of this test's own."""
    settings = weed.settings.model_copy(update={"bucket": f"test-{uuid.uuid4().hex[:12]}"})
    Store.connect(settings).ensure_bucket()
    return settings


@pytest.fixture
def store(store_settings: Settings) -> Store:
    """A real store with an empty bucket of this test's own."""
    return Store.connect(store_settings)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """A whole stack, up and ready: `stack.settings`, and `stack.env` for processes that work with it."""
    local = LocalStack(tmp_path_factory.mktemp("stack"))
    try:
        local.up()
        yield local
        local.down()
    finally:
        local.end()

"""Stores for tests that need no server: fixtures."""

import uuid
from collections.abc import Iterator

import pytest
from moto import mock_aws

from tasks.settings import Settings
from tasks.store.s3 import Store
from tests.helpers.fake_s3 import FakeS3, serving


@pytest.fixture(scope="session")
def _mocked_aws() -> Iterator[None]:
    with mock_aws(config={"core": {"mock_credentials": False}}):
        yield


@pytest.fixture
def in_memory(_mocked_aws: None) -> Settings:
    """Settings of an empty store in memory; unsigned versions are served from it."""
    settings = Settings(
        s3_endpoint="aws",
        s3_access_key="key",
        s3_secret_key="secret",
        bucket=f"test-{uuid.uuid4().hex[:12]}",
        signing="off",
    )
    Store.connect(settings).ensure_bucket()
    return settings


@pytest.fixture
def store(in_memory: Settings) -> Store:
    """A store in memory."""
    return Store.connect(in_memory)


@pytest.fixture
def fake_s3() -> Iterator[FakeS3]:
    """A store over HTTP that misbehaves when asked to."""
    with serving() as fake:
        yield fake

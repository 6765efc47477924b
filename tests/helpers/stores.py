"""Stores for tests: one in memory, and one that tells what is asked of it; as fixtures where they need no server."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tasks.errors import Corrupt, NotFound
from tasks.settings import Settings
from tasks.store.base import Store, StoredObject
from tasks.store.connect import STORES
from tasks.store.credentials import credentials
from tests.helpers.fake_s3 import FakeS3, serving

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class MemoryStore(Store):
    """A store in the memory of this process."""

    def __init__(self) -> None:
        self._objects: dict[str, tuple[bytes, float]] = {}  # and when each was written
        self._lock = threading.Lock()

    def uri(self, key: str) -> str:
        return f"memory://test/{key}"

    def create(self, key: str, data: bytes) -> bool:
        with self._lock:
            return self._objects.setdefault(key, (data, time.monotonic()))[0] == data

    def put(self, key: str, data: bytes) -> None:
        with self._lock:
            self._objects[key] = data, time.monotonic()

    def stream(self, key: str, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        found, _ = self._objects.get(key, (None, 0))
        if found is None:
            raise NotFound(f"There is no object {self.uri(key)}.")
        if start > 0 and start >= len(found):
            raise Corrupt(f"{self.uri(key)} is shorter than it should be: it is not what was written there.")
        yield found[start:stop]

    def backdate(self, key: str, seconds: float) -> None:
        """Make an object older."""
        data, written = self._objects[key]
        self._objects[key] = data, written - seconds

    def upload_all(self, files: Mapping[str, Path]) -> None:
        for key, path in files.items():
            self.put(key, path.read_bytes())

    def objects(self, prefix: str, after: str = "") -> list[StoredObject]:
        with self._lock:
            found = sorted(self._objects.items())
        return [
            StoredObject(key, len(data), time.monotonic() - written)
            for key, (data, written) in found
            if key.startswith(prefix) and key > after
        ]

    def delete(self, key: str) -> None:
        self._objects.pop(key, None)

    def delete_once(self, key: str) -> None:
        self.delete(key)


class WatchedStore(Store):
    """`store`, whose user is watched: `before` is called with the method and the key (or prefix) of each request.

    What `before` raises is what the user of the store meets; what it writes was written by someone else meanwhile.
    """

    def __init__(self, store: Store, before: Callable[[str, str], None]) -> None:
        self.store = store
        self.before = before

    def uri(self, key: str) -> str:
        return self.store.uri(key)

    def create(self, key: str, data: bytes) -> bool:
        self.before("create", key)
        return self.store.create(key, data)

    def put(self, key: str, data: bytes) -> None:
        self.before("put", key)
        self.store.put(key, data)

    def stream(self, key: str, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        self.before("stream", key)
        return self.store.stream(key, start, stop)

    def upload_all(self, files: Mapping[str, Path]) -> None:
        self.before("upload_all", next(iter(files), ""))
        self.store.upload_all(files)

    def objects(self, prefix: str, after: str = "") -> list[StoredObject]:
        self.before("objects", prefix)
        return self.store.objects(prefix, after)

    def delete(self, key: str) -> None:
        self.before("delete", key)
        self.store.delete(key)

    def delete_once(self, key: str) -> None:
        self.before("delete_once", key)
        self.store.delete_once(key)


def s3_client(settings: Settings) -> "S3Client":
    """A client of boto3's for the store of `settings`: for what Slipway never asks."""
    import boto3

    access, secret = credentials(settings)
    return boto3.client(
        "s3",
        endpoint_url=settings.store_url,
        region_name=settings.s3_region,
        aws_access_key_id=access,
        aws_secret_access_key=secret,
    )


@pytest.fixture
def store() -> Store:
    """A store in memory."""
    return MemoryStore()


@pytest.fixture
def in_memory(store: Store, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings that lead to `store`, in this process alone; unsigned versions are served from it."""
    monkeypatch.setitem(STORES, "memory", lambda _: store)
    return Settings(s3_endpoint="memory://test", signing="off")


@pytest.fixture
def fake_s3() -> Iterator[FakeS3]:
    """A store over HTTP that misbehaves when asked to."""
    with serving() as fake:
        yield fake

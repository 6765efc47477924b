"""What the rest of Slipway asks of object storage, whichever it is: a store is one class of this form."""

import contextlib
import hashlib
import logging
import os
import re
import uuid
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from tasks.errors import Corrupt, NotFound, StoreError, StoreUnsuitable
from tasks.records import Record

log = logging.getLogger(__name__)

R = TypeVar("R", bound=Record)
A = TypeVar("A")
B = TypeVar("B")

LARGEST = 16 << 20  # bytes of what is read into memory as one piece: the manifest of 100,000 files
_AT_ONCE = 16  # requests of `in_parallel`


@dataclass(frozen=True)
class StoredObject:
    """An object in a listing."""

    key: str
    size: int  # bytes
    age: float  # seconds since it was written, by the store's own clock if it has one


class Store(Protocol):
    """Bytes under keys, which any number of processes on any number of machines write and read at once.

    A key is names with "/" between them, such as `models/MLP/claims/7.json`; `tasks.store.keys` makes them all. A
    prefix is empty or ends in "/". Each write is seen whole or not at all, and by every call that begins after it
    returned. Every call ends, and raises only errors of `tasks.errors`. A store may be used by several threads at once.

    A class that inherits from this one writes the abstract methods; the others rest on them, and are overridden where a
    store has a better way.

    Raises (all methods):
        StoreUnreachable: no answer, or an answer that a retry may change.
        StoreRefused: wrong credentials, no bucket, no permission.
    """

    @abstractmethod
    def uri(self, key: str) -> str:
        """`key` with the store's address before it: for messages, and as the base path of a model in a fleet config."""

    @abstractmethod
    def create(self, key: str, data: bytes) -> bool:
        """Write `data` under `key` if nothing is there; whether `data` is there now.

        Of any number of creates of one key at once, one writes. Idempotent: if an object that holds exactly `data` is
        there, an earlier write of it lost its answer.
        """

    @abstractmethod
    def put(self, key: str, data: bytes) -> None:
        """Write `data` under `key`, over whatever is there."""

    @abstractmethod
    def stream(self, key: str, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """The bytes of `key` from `start` to `stop`, or to its end if that comes first, in chunks of some megabytes.

        They are those of one object, even if it is written over meanwhile.

        Raises:
            NotFound: nothing is there.
            Corrupt: it ends before `start`.
        """

    @abstractmethod
    def upload_all(self, files: Mapping[str, Path]) -> None:
        """Send each file to its key, over whatever is there; memory does not grow with their sizes.

        Raises:
            NotFound: someone deleted what was already sent of a file.
            OSError: a file cannot be read.
        """

    @abstractmethod
    def objects(self, prefix: str, after: str = "") -> list[StoredObject]:
        """All objects under `prefix` whose keys sort behind `after`, sorted by key."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove `key`; nothing happens if it is not there."""

    @abstractmethod
    def delete_once(self, key: str) -> None:
        """Remove `key`, without retries: if the answer is lost, someone else may have written there since."""

    def get(self, key: str) -> bytes:
        """The bytes under `key`, as they were at one moment.

        Raises:
            NotFound: nothing is there.
            Corrupt: it is larger than `LARGEST`.
        """
        found = bytearray()
        for chunk in self.stream(key):
            found += chunk
            if len(found) > LARGEST:
                raise Corrupt(f"{self.uri(key)} has more than {LARGEST >> 20} MiB: it is nothing that Slipway wrote.")
        return bytes(found)

    def find(self, key: str) -> bytes | None:
        """The bytes under `key`, or None if nothing is there."""
        try:
            return self.get(key)
        except NotFound:
            return None

    def find_record(self, key: str, kind: type[R]) -> R | None:
        """The record of this kind under `key`, or None where nothing is.

        Raises:
            Corrupt: what is there is not one.
        """
        data = self.find(key)
        return kind.from_json(data, self.uri(key)) if data is not None else None

    def records(self, prefix: str, kind: type[R]) -> list[tuple[StoredObject, R]]:
        """Every record directly under `prefix`, each with its place there; one that cannot be read is left out.

        One bad object stops nothing else: it is named in a warning.
        """
        there = [o for o in self.objects(prefix) if re.fullmatch(r"[^/]+\.json", o.key.removeprefix(prefix))]
        found = in_parallel(lambda o: self.readable(o.key, kind), there)
        return [(o, record) for o, record in zip(there, found, strict=True) if record is not None]

    def readable(self, key: str, kind: type[R]) -> R | None:
        """The record of this kind under `key`; None where nothing is, and, with a warning, if it cannot be read."""
        try:
            return self.find_record(key, kind)
        except Corrupt as error:
            log.warning("%s It is passed over: remove it, or put back what was there.", error)
            return None

    def download(self, key: str, path: Path) -> tuple[int, str]:
        """Bring `key` to the new file `path` in a stream and onto the disk; its size in bytes and its sha256.

        Raises:
            NotFound: nothing is there.
        """
        digest, size = hashlib.sha256(), 0
        with path.open("xb") as file:
            for chunk in self.stream(key):
                file.write(chunk)
                digest.update(chunk)
                size += len(chunk)
            file.flush()
            os.fsync(file.fileno())
        return size, digest.hexdigest()

    def keys(self, prefix: str, after: str = "") -> list[str]:
        """The keys of `objects`."""
        return [o.key for o in self.objects(prefix, after)]

    def children(self, prefix: str) -> list[str]:
        """Names of what lies directly under `prefix` as folders, sorted."""
        below = (key.removeprefix(prefix).partition("/") for key in self.keys(prefix))
        return sorted({name for name, slash, _ in below if slash})

    def delete_all(self, prefix: str) -> int:
        """Remove all objects under `prefix`, and the parts of uploads that were never finished; how many objects."""
        keys = self.keys(prefix)
        for key in keys:
            self.delete(key)
        return len(keys)

    def require_suitable(self) -> None:
        """Raise unless the store can be used: it answers, has the bucket, and honours create-if-absent.

        Raises:
            StoreUnsuitable: the store takes a second create of the same key.
        """
        key = f"probes/{uuid.uuid4()}"
        try:
            first, second = self.create(key, b"first"), self.create(key, b"second")
        finally:
            with contextlib.suppress(StoreError):
                self.delete(key)
        if not first or second:
            raise unsuitable(self.uri(""), "takes a second create of a key: two writers would overwrite one another")


def in_parallel(function: Callable[[A], B], items: Iterable[A]) -> list[B]:
    """`function` of each item, in their order; some are worked out at once, since most of the time is waiting."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(function, items))


def unsuitable(address: str, what: str) -> StoreUnsuitable:
    """The error of a store that lacks what Slipway rests on: `what` it does instead."""
    return StoreUnsuitable(
        f"The store at {address} {what}. Version numbers and fleet configs rest on create-if-absent: use a store with "
        "conditional writes (S3, R2, MinIO, SeaweedFS)."
    )

"""Bringing many or large files from the store at once: in parts, resumed where they broke, hashed on the way."""

import hashlib
import os
import threading
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import stamina

from tasks.errors import StoreUnreachable
from tasks.store.base import Store

_PART = 16 << 20  # bytes asked for at a time
_CHUNK = 1 << 20  # bytes read from the disk at a time
_TRANSFERS = 8  # parts under way at once
_PATIENCE = 60.0  # seconds that a part waits for a store that went away


@dataclass(frozen=True)
class Wanted:
    """An object that is to become a new file."""

    key: str
    path: Path
    size: int  # bytes


def download_all(store: Store, files: Iterable[Wanted]) -> Generator[tuple[Wanted, str]]:
    """Bring each file to its path and onto the disk; yields it with its sha256, in the order given.

    A file is asked for in parts, of this and of the next files at once; memory does not grow with their sizes. A caller
    that stops iterating stops the transfers.

    Raises:
        NotFound: an object is not there.
        Corrupt: an object is shorter than its size.
    """
    stop = threading.Event()
    pool = ThreadPoolExecutor(_TRANSFERS)
    try:
        begun = []
        for wanted in files:
            wanted.path.parent.mkdir(parents=True, exist_ok=True)
            with wanted.path.open("xb") as file:
                file.truncate(wanted.size)
            starts = range(0, wanted.size, _PART)
            begun.append((wanted, [pool.submit(_fill, store, wanted, start, stop) for start in starts]))
        for wanted, parts in begun:
            yield wanted, _digest(wanted, parts)
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


def _fill(store: Store, wanted: Wanted, start: int, stop: threading.Event) -> None:
    """Download the part that begins at `start`; after a fault only what is still missing."""
    at, end = start, min(start + _PART, wanted.size)

    def is_temporary(error: Exception) -> bool:
        return isinstance(error, StoreUnreachable) and not stop.is_set()

    with wanted.path.open("r+b", buffering=0) as file:
        for attempt in stamina.retry_context(on=is_temporary, attempts=None, timeout=_PATIENCE):
            with attempt:
                for chunk in store.stream(wanted.key, at, end):
                    at += os.pwrite(file.fileno(), chunk, at)
                    if stop.is_set():
                        return


def _digest(wanted: Wanted, parts: list[Future[None]]) -> str:
    """sha256 of what lies on the disk, read part by part as they arrive; then the file is synced."""
    digest = hashlib.sha256()
    with wanted.path.open("rb", buffering=0) as file:
        for part in parts:
            part.result()
            left = _PART
            while left and (chunk := file.read(min(_CHUNK, left))):
                digest.update(chunk)
                left -= len(chunk)
        os.fsync(file.fileno())
    return digest.hexdigest()

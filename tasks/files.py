"""Writing files so that a reader sees all of one or nothing."""

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


def write_atomically(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write `data` to `path`, over what is there; a reader never sees a part of it, even after a crash.

    Args:
        mode: of the file, regardless of the umask.
    """
    with _draft(path, data, mode) as draft:
        draft.replace(path)


def create(path: Path, data: bytes, mode: int = 0o644) -> bool:
    """Write `data` to `path` unless something is there; whether it was written. Of two writers at once one wins."""
    with _draft(path, data, mode) as draft:
        try:
            os.link(draft, path)
        except FileExistsError:
            return False
        return True


@contextlib.contextmanager
def _draft(path: Path, data: bytes, mode: int) -> Iterator[Path]:
    """A temporary file beside `path` that holds `data`, synced to disk; removed afterwards unless it was renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # for its owner alone
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            os.fchmod(descriptor, mode)
            file.flush()
            os.fsync(descriptor)
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def is_plain_path(path: str) -> bool:
    """Whether `path` names a file below the folder that it is relative to, on every system and in every store."""
    parts = path.split("/")
    return (
        all(part not in ("", ".", "..") and len(part.encode("utf-8", "replace")) <= 255 for part in parts)
        and path.isprintable()
        and "\\" not in path
    )


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[bool]:
    """Hold the kernel's lock on `folder`; it ends with this process, however that ends.

    Yields False if the file system has no locks.

    Raises:
        BlockingIOError: another process holds it.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            locked = True
        except BlockingIOError:
            raise
        except OSError:
            locked = False
        yield locked
    finally:
        os.close(descriptor)

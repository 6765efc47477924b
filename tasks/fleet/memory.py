"""Whether there is memory for what a model server is about to load."""

from collections.abc import Sequence
from pathlib import Path

import psutil

from tasks.errors import LoadFailed

_HERE = {"127.0.0.1", "localhost", "[::1]", "unix"}


def require_memory(folders: Sequence[Path], grpc_address: str) -> None:
    """Raise if these versions cannot fit into the memory that is free on the model server's machine.

    A version takes at least as much as its files; only loading it shows what else it takes. Nothing is known of a
    server on another machine.

    Args:
        folders: of versions that are not loaded yet, `…/MODEL/VERSION`; twice if it is loaded under two names.

    Raises:
        LoadFailed: their files alone are larger. Nothing was loaded.
    """
    if not folders or grpc_address.rpartition(":")[0] not in _HERE:
        return
    need, free = sum(map(_size, folders)), psutil.virtual_memory().available
    if need > free:
        names = ", ".join(f"{folder.parent.name} version {folder.name}" for folder in folders)
        raise LoadFailed(
            f"{names} cannot be loaded: the files take {need >> 20} MiB, and {free >> 20} MiB of memory are free. "
            "Serve fewer models on this replica, or give it more memory. Nothing was loaded."
        )


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

"""Reading `.npz` files that anyone may have made: whole, and without running what is in them."""

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from tasks.errors import InvalidData
from tasks.wire.dtypes import Array

UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, MemoryError, NotImplementedError)


def read_arrays(path: Path, wanted: tuple[str, ...] = ()) -> dict[str, Array]:
    """The wanted arrays of an `.npz` by name, or all of them. Objects are never unpickled: that could run code.

    Raises:
        InvalidData: it is not an `.npz`, is cut off, lacks an array, or holds one of Python objects.
    """
    if not path.is_file():
        raise InvalidData(f"{path} is not a file: expected an .npz with arrays {' and '.join(wanted) or 'by name'}.")
    if not zipfile.is_zipfile(path):
        raise InvalidData(
            f"{path} ({path.stat().st_size} bytes) is not an .npz or was cut off: it does not end as a "
            "zip archive does. Write it with np.savez(path, x=..., y=...), or copy it again."
        )
    arrays = {}
    try:
        with np.load(path, allow_pickle=False) as archive:
            missing = [name for name in wanted if name not in archive.files]
            if missing:
                raise InvalidData(
                    f"{path} has no array {missing[0]!r}, only {', '.join(map(repr, archive.files)) or 'none at all'}: "
                    f"expected {' and '.join(wanted)}, as np.savez(path, x=..., y=...) writes them."
                )
            for name in wanted or archive.files:
                arrays[name] = _member(archive, name, path)
    except UNREADABLE as error:
        raise InvalidData(
            f"{path} cannot be read as an .npz ({error}): it was damaged; copy or write it again."
        ) from None
    return arrays


def _member(archive: Any, name: str, path: Path) -> Array:
    try:
        array = archive[name]
    except UNREADABLE as error:
        if "allow_pickle" in str(error):
            raise InvalidData(
                f"{path}: array {name!r} is made of Python objects, which could run code when read: "
                "store plain numbers (uint8, float32, int64)."
            ) from None
        raise InvalidData(
            f"{path}: array {name!r} cannot be read ({error}): it was cut off or damaged; copy or write it again."
        ) from None
    if not isinstance(array, np.ndarray):
        raise InvalidData(f"{path}: {name!r} is not a NumPy array: write it with np.savez(path, x=..., y=...).")
    return array

"""Arrays larger than memory: kept in files that are mapped, and gone through a piece at a time."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tasks.data.examples import Examples
from tasks.wire.dtypes import Array

LARGE = 256 << 20  # bytes of data from which on they are kept in files
PIECE = 4 << 20  # bytes that are worked on at once


def slices(*arrays: Array) -> Iterator[slice]:
    """Pieces of the rows of arrays of one length, such that a piece of all of them has about `PIECE` bytes."""
    count = len(arrays[0])
    width = sum(array.nbytes for array in arrays) // max(count, 1)
    step = max(1, PIECE // max(width, 1))
    return (slice(start, min(start + step, count)) for start in range(0, count, step))


def room(folder: Path | None, size: int) -> Path | None:
    """`folder` if data of so many bytes are kept in files there, None if in memory."""
    return folder if size > LARGE else None


def allocated(folder: Path | None, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> Array:
    """An array of zeros or "", in memory or in a file of its own in `folder`. Objects are always in memory."""
    if dtype.kind == "O":
        return np.full(shape, "", object)
    if folder is None or 0 in shape:
        return np.zeros(shape, dtype)
    descriptor, path = tempfile.mkstemp(".npy", dir=folder)
    os.close(descriptor)
    return np.asanyarray(np.lib.format.open_memmap(path, "w+", dtype, shape))


def arranged(examples: Examples, order: Array, folder: Path | None) -> Examples:
    """`examples` in another order of rows, in memory or in files of `folder`, in the place of those there."""
    arrays = [*examples.features.values(), *examples.labels.values(), *examples.others().values()]
    folder = room(folder, sum(array.nbytes for array in arrays))
    if folder is None:
        return examples.rows(order)

    def one(array: Array) -> Array:
        found = allocated(folder, array.shape, array.dtype)
        for rows in slices(array):
            found[rows] = array[order[rows]]
        if isinstance(array, np.memmap) and Path(str(array.filename)).parent == folder:
            Path(str(array.filename)).unlink()  # who has it mapped can go on reading it
        return found

    return Examples(
        {name: one(array) for name, array in examples.features.items()},
        {name: one(array) for name, array in examples.labels.items()},
        None if examples.weights is None else one(examples.weights),
    )


def file_of(array: Array) -> tuple[Path, int] | None:
    """The `.npy` file that rows are mapped from, and the number of the first of them; None if they are in memory."""
    whole = array
    while isinstance(whole.base, np.ndarray):
        whole = whole.base
    same = (whole.dtype, whole.shape[1:], whole.strides) == (array.dtype, array.shape[1:], array.strides)
    if not isinstance(whole, np.memmap) or not same or 0 in array.shape:
        return None
    return Path(str(whole.filename)), (array.ctypes.data - whole.ctypes.data) // whole.strides[0]

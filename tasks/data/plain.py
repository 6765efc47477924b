"""Arrays as models take them: plain numbers, or texts."""

from typing import Any

import numpy as np

from tasks.errors import InvalidData
from tasks.wire.dtypes import Array

# NumPy's own texts all take the room of the longest one: columns with longer texts than this are arrays of objects.
WIDEST_TEXT = 256  # characters
_LISTS = (list, tuple, np.ndarray)


def plain(value: Any, name: str, where: str) -> Array:
    """`value`, anything that NumPy takes for an array, as one of numbers, dates (datetime64), or texts.

    Rows that are lists of different lengths are padded at their end, with 0 or "". Texts are of dtype `U`, or `object`
    if one is longer than 256 characters. Bytes are texts if they are UTF-8; else they stay bytes, as `object`. A
    missing text is "".

    Raises:
        InvalidData: rows of different shapes, or values that are neither numbers nor texts, or both.
    """
    if isinstance(value, list | tuple) and all(isinstance(one, str) for one in value):
        return texts(list(value), (len(value),))
    try:
        array = np.asarray(value)
    except ValueError:  # lists of different lengths
        array = _of_lists(value, name, where)
    if array.dtype.kind == "O" and array.ndim == 1 and len(array) and all(isinstance(r, _LISTS) for r in array):
        array = _of_lists(array, name, where)
    if array.ndim == 0:
        raise InvalidData(
            f"{where}: {name!r} is {value!r}, expected an array with one entry for each row, as np.asarray makes it."
        )
    if array.dtype.kind in "OS":
        return _of_objects(array, name, where)
    if array.dtype.kind not in "biufUM" and array.dtype.name != "bfloat16":
        raise InvalidData(f"{where}: {name!r} has dtype {array.dtype}, expected numbers or texts: convert it.")
    return array


def joined(blocks: list[Array], what: str, where: str) -> Array:
    """Blocks of rows as one array; rows of one axis are padded to the longest with 0 or "".

    Raises:
        InvalidData: they differ in shape otherwise.
    """
    shapes = {block.shape[1:] for block in blocks}
    if len(shapes) == 1:
        return np.concatenate(blocks)
    if not blocks:
        return np.empty(0)
    if any(len(shape) != 1 for shape in shapes):
        first, other = sorted(shapes, key=str)[:2]
        raise InvalidData(
            f"{where}: the rows of {what} have different shapes, such as {list(first)} and {list(other)}; expected one "
            "shape for all: resize or pad them."
        )
    dtype = np.result_type(*{block.dtype for block in blocks if block.size})
    found = np.full((sum(map(len, blocks)), *max(shapes)), {"O": b"", "U": "", "S": b""}.get(dtype.kind, 0), dtype)
    start = 0
    for block in blocks:
        found[start : start + len(block), : block.shape[1]] = block
        start += len(block)
    return found


def _of_lists(rows: Any, name: str, where: str) -> Array:
    try:
        blocks = [np.asarray(row)[None] for row in rows]
    except ValueError:
        raise InvalidData(
            f"{where}: {name!r} holds lists of lists of different lengths, expected one shape for all: pad them."
        ) from None
    return joined(blocks, repr(name), where)


def texts(values: list[str], shape: tuple[int, ...]) -> Array:
    """These texts as an array of that shape, without room for a long one in every row."""
    if max(map(len, values), default=0) > WIDEST_TEXT:
        return _objects(values, shape)
    return np.array(values, str).reshape(shape)


def _objects(values: list[Any], shape: tuple[int, ...]) -> Array:
    found = np.empty(len(values), object)
    found[:] = values
    return found.reshape(shape)


def _of_objects(array: Array, name: str, where: str) -> Array:
    values = array.ravel().tolist()
    kinds = {type(value) for value in values if not _missing(value)}
    if kinds <= {str}:
        return texts(["" if _missing(value) else value for value in values], array.shape)
    if kinds == {bytes}:
        values = [b"" if _missing(value) else value for value in values]
        try:
            return texts([value.decode() for value in values], array.shape)
        except UnicodeDecodeError:
            return _objects(values, array.shape)
    if all(issubclass(kind, int | float | np.number | np.bool_) for kind in kinds):
        numbers = [float("nan") if value is None else value for value in values]
        return np.array(numbers).reshape(array.shape)
    first = next(at for at, value in enumerate(values) if not _missing(value))
    other = next((at for at, v in enumerate(values) if not _missing(v) and type(v) is not type(values[first])), first)
    rows = len(values) // max(len(array), 1)
    raise InvalidData(
        f"{where}: {name!r} holds Python objects of different kinds: {_shown(values[first])} in row {first // rows}"
        + (f", {_shown(values[other])} in row {other // rows}" if other != first else "")
        + "; expected only numbers or only texts: convert the whole of it."
    )


def _missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and value != value)


def _shown(value: object) -> str:
    text = repr(value)
    return f"{text[:40]}{'…' if len(text) > 40 else ''} ({type(value).__name__})"

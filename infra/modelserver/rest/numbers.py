"""Predict requests that hold nothing but numbers, straight into NumPy.

Such a body goes from simdjson's parse to arrays without a Python object per number: an order of magnitude faster than
lists. Every other body (strings, booleans, ragged lists, repeated keys, errors of any kind) is left to `tensors`.
"""

from collections.abc import Mapping
from functools import lru_cache
from math import prod
from typing import Any, Final

import numpy as np
import simdjson

from infra.modelserver.rest.parser import Document
from infra.modelserver.rest.tensors import FLOATS, INT_RANGES, PredictInputs
from infra.modelserver.runtime.servable import Signature, TensorInfo
from tasks.wire.dtypes import Array, DataType

_STRUCTURE: Final = b'[]{},:"'
_NOT_STRUCTURE: Final = bytes(set(range(256)) - set(_STRUCTURE))
_NOT_PLAIN: Final = set(_STRUCTURE.decode() + "\\")
_BUFFER_KINDS: Final[dict[int, str]] = (
    dict.fromkeys(FLOATS, "d") | dict.fromkeys(INT_RANGES, "i") | {DataType.UINT64: "u"}
)
_LONGEST: Final = 0xFFFFFF  # the length that simdjson reports for this many elements and more
_BUFFER_TYPES: Final = {"d": np.dtype(np.float64), "i": np.dtype(np.int64), "u": np.dtype(np.uint64)}


class _Declined(Exception):
    """This body is left to `tensors`."""


def number_inputs(asked: Document, signature: Signature) -> PredictInputs | None:
    """As `tensors.predict_inputs`, for a request that holds numbers only; None for any other."""
    document = asked.strict
    if document is None or not all(info.data_type in _BUFFER_KINDS for info in signature.inputs.values()):
        return None
    keys = list(document)
    tensors = {"instances", "inputs"}.intersection(keys)
    if len(tensors) != 1 or not {"signature_name", *tensors}.issuperset(keys) or len(keys) != len(set(keys)):
        return None
    if not _NOT_PLAIN.isdisjoint(asked.signature_name()):
        return None
    row_format = "instances" in tensors
    try:
        read = _rows if row_format else _columns
        arrays, structure = read(document[tensors.pop()], signature.inputs)
    except (_Declined, ValueError, TypeError, OverflowError):
        return None
    members = [b'"":""' if key == "signature_name" else b'"":' + structure for key in keys]
    # The shapes came from each list's first element; the brackets and commas show whether all the others agree.
    if asked.body.translate(None, _NOT_STRUCTURE) != b"{" + b",".join(members) + b"}":
        return None
    return PredictInputs(arrays, row_format)


def _columns(value: Any, inputs: Mapping[str, TensorInfo]) -> tuple[dict[str, Array], bytes]:
    if not isinstance(value, simdjson.Object):
        alias, info = _only(inputs)
        array = _array(value, info)
        return {alias: array}, _structure(array.shape)
    keys = list(value)
    if set(keys) != inputs.keys() or len(keys) != len(inputs) or not all(map(_NOT_PLAIN.isdisjoint, keys)):
        raise _Declined
    arrays = {key: _array(value[key], inputs[key]) for key in keys}
    return arrays, b"{" + b",".join([b'"":' + _structure(array.shape) for array in arrays.values()]) + b"}"


def _rows(value: Any, inputs: Mapping[str, TensorInfo]) -> tuple[dict[str, Array], bytes]:
    if not isinstance(value, simdjson.Array) or not len(value):
        raise _Declined
    first = value[0]
    if not isinstance(first, simdjson.Object):
        alias, info = _only(inputs)
        array = _array(value, info)
        return {alias: array}, _structure(array.shape)
    keys = list(first)
    if set(keys) != inputs.keys() or len(keys) != len(inputs) or not all(map(_NOT_PLAIN.isdisjoint, keys)):
        raise _Declined
    columns: dict[str, list[Any]] = {key: [] for key in keys}
    for row in value:
        if not isinstance(row, simdjson.Object) or list(row) != keys:
            raise _Declined
        for key in keys:
            columns[key].append(row[key])
    arrays = {key: _stacked(column, inputs[key]) for key, column in columns.items()}
    row_structure = b"{" + b",".join([b'"":' + _structure(array.shape[1:]) for array in arrays.values()]) + b"}"
    return arrays, _list_of(row_structure, len(value))


def _only(inputs: Mapping[str, TensorInfo]) -> tuple[str, TensorInfo]:
    if len(inputs) != 1:
        raise _Declined
    return next(iter(inputs.items()))


def _array(value: Any, info: TensorInfo) -> Array:
    """A list of numbers, nested to any depth, or one number, as an array."""
    kind = _BUFFER_KINDS[info.data_type]
    if not isinstance(value, simdjson.Array):
        return _cast(_scalars([value], kind), info).reshape(())
    flat = _flat(value, kind)
    return _cast(flat, info).reshape(_shape(value, flat.size))


def _stacked(column: list[Any], info: TensorInfo) -> Array:
    """The values of one input in all rows as one array."""
    kind = _BUFFER_KINDS[info.data_type]
    if not isinstance(column[0], simdjson.Array):
        return _cast(_scalars(column, kind), info)
    parts = [_flat(item, kind) for item in column]
    shape = _shape(column[0], parts[0].size)
    return _cast(np.concatenate(parts), info).reshape(len(parts), *shape)


def _flat(value: Any, kind: str) -> Array:
    """All numbers of a list, at any depth; TypeError or ValueError if it holds anything else."""
    if not isinstance(value, simdjson.Array):
        raise _Declined
    return np.frombuffer(value.as_buffer(of_type=kind), _BUFFER_TYPES[kind])  # type: ignore[arg-type]


def _scalars(values: list[Any], kind: str) -> Array:
    if not {int, float}.issuperset(map(type, values)) or (kind != "d" and float in map(type, values)):
        raise _Declined
    return np.array(values, _BUFFER_TYPES[kind])


def _shape(value: Any, size: int) -> tuple[int, ...]:
    shape = []
    while isinstance(value, simdjson.Array):
        shape.append(len(value))
        if not shape[-1]:
            raise _Declined
        value = value[0]
    if shape[0] == _LONGEST:
        shape[0] = size // prod(shape[1:])
    if prod(shape) != size:
        raise _Declined
    return tuple(shape)


def _cast(flat: Array, info: TensorInfo) -> Array:
    if info.data_type in FLOATS:
        with np.errstate(over="ignore"):
            return flat.astype(info.dtype, copy=False)
    low, high = INT_RANGES[info.data_type]
    if flat.min() < low or flat.max() > high:
        raise _Declined
    return flat.astype(info.dtype, copy=False)


def _structure(shape: tuple[int, ...]) -> bytes:
    """Brackets and commas of a nest of lists of this shape."""
    return _kept_structure(shape) if prod(shape) <= 1 << 20 else _new_structure(shape)


def _new_structure(shape: tuple[int, ...]) -> bytes:
    structure = b""
    for size in reversed(shape):
        structure = _list_of(structure, size)
    return structure


_kept_structure = lru_cache(maxsize=16)(_new_structure)


def _list_of(structure: bytes, size: int) -> bytes:
    return b"[" + structure + (b"," + structure) * (size - 1) + b"]"

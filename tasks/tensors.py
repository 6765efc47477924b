"""NumPy arrays to and from TensorFlow's `TensorProto`, without TensorFlow."""

import math
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from tasks.errors import InvalidInput
from tasks.protos import DataType, TensorProto, TensorShapeProto

Array = npt.NDArray[Any]

# Names as in tensorflow/core/framework/types.proto; quantised types are carried as the integers they are stored in.
_NUMPY: dict[int, np.dtype[Any]] = {
    DataType.Value(f"DT_{name}"): np.dtype(scalar)
    for name, scalar in {
        "FLOAT": np.float32,
        "DOUBLE": np.float64,
        "HALF": np.float16,
        "BFLOAT16": ml_dtypes.bfloat16,
        "INT8": np.int8,
        "INT16": np.int16,
        "INT32": np.int32,
        "INT64": np.int64,
        "UINT8": np.uint8,
        "UINT16": np.uint16,
        "UINT32": np.uint32,
        "UINT64": np.uint64,
        "BOOL": np.bool_,
        "COMPLEX64": np.complex64,
        "COMPLEX128": np.complex128,
        "FLOAT8_E5M2": ml_dtypes.float8_e5m2,
        "FLOAT8_E4M3FN": ml_dtypes.float8_e4m3fn,
        "FLOAT8_E4M3FNUZ": ml_dtypes.float8_e4m3fnuz,
        "FLOAT8_E4M3B11FNUZ": ml_dtypes.float8_e4m3b11fnuz,
        "FLOAT8_E5M2FNUZ": ml_dtypes.float8_e5m2fnuz,
        "INT4": ml_dtypes.int4,
        "UINT4": ml_dtypes.uint4,
    }.items()
}
_ENUM = {dtype: number for number, dtype in _NUMPY.items()}
_NUMPY |= {
    DataType.Value(f"DT_{name}"): np.dtype(scalar)
    for name, scalar in {
        "QINT8": np.int8,
        "QUINT8": np.uint8,
        "QINT16": np.int16,
        "QUINT16": np.uint16,
        "QINT32": np.int32,
    }.items()
}

_FIELDS = {
    np.dtype(np.float32): "float_val",
    np.dtype(np.float64): "double_val",
    np.dtype(np.int64): "int64_val",
    np.dtype(np.uint32): "uint32_val",
    np.dtype(np.uint64): "uint64_val",
    np.dtype(np.bool_): "bool_val",
}


def dtype_name(number: int) -> str:
    """TensorFlow's name of a `DataType`: `float32`, `string`, `bfloat16`, `resource`, …"""
    if number == DataType.Value("DT_STRING"):
        return "string"
    if number in _NUMPY and number in _ENUM.values():
        return _NUMPY[number].name
    try:
        return str(DataType.Name(number)).removeprefix("DT_").lower()
    except ValueError:
        return f"unknown ({number})"


def numpy_dtype(name: str) -> np.dtype[Any]:
    """The NumPy dtype that carries a TensorFlow dtype: `object` for `string`.

    Raises:
        InvalidInput: no array can carry it (`resource`, `variant`).
    """
    if name == "string":
        return np.dtype(object)
    for number, dtype in _NUMPY.items():
        if dtype_name(number) == name:
            return dtype
    raise InvalidInput(f"Tensors of dtype {name!r} cannot be sent: use a numeric dtype, bool or string.")


def to_proto(array: npt.ArrayLike) -> TensorProto:
    """`array` as a tensor; str and bytes become DT_STRING (UTF-8), every other dtype its own DataType.

    Raises:
        InvalidInput: an array of Python objects that are not all str or bytes, or a dtype that TensorFlow lacks.
    """
    values = np.asarray(array)
    if values.dtype.kind == "S" and not isinstance(array, np.ndarray):
        values = np.asarray(array, object)  # NumPy's own bytes dtype drops zeros at the end
    shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in values.shape])
    if values.dtype.kind in "OSUT":
        return TensorProto(dtype="DT_STRING", tensor_shape=shape, string_val=[_as_bytes(item) for item in values.flat])
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    number = _ENUM.get(values.dtype)
    if number is None:
        raise InvalidInput(
            f"An array of dtype {values.dtype} cannot be sent: TensorFlow has no such dtype; cast it first."
        )
    return TensorProto(dtype=number, tensor_shape=shape, tensor_content=values.tobytes())


def from_proto(tensor: TensorProto) -> Array:
    """The array in `tensor`, read-only; DT_STRING as an object array of bytes.

    Values stand in `tensor_content` or in the field of their dtype; there, missing ones repeat the last, and with none
    at all they are zero (`Tensor::FromProto` in tensorflow/core/framework/tensor.cc).

    Raises:
        InvalidInput: a dtype that no array can carry, an unknown shape, or values that do not fit the shape.
    """
    if tensor.tensor_shape.unknown_rank or any(dim.size < 0 for dim in tensor.tensor_shape.dim):
        raise InvalidInput("A tensor with values must have a known shape; this one's is unknown.")
    shape = tuple(dim.size for dim in tensor.tensor_shape.dim)
    size = math.prod(shape)
    if tensor.dtype == DataType.Value("DT_STRING"):
        array: Array = np.empty(len(tensor.string_val), dtype=object)
        array[:] = tensor.string_val
        return _filled(array, size, b"").reshape(shape)
    dtype = _NUMPY.get(tensor.dtype)
    if dtype is None:
        raise InvalidInput(f"A tensor of dtype {dtype_name(tensor.dtype)!r} cannot be read as an array.")
    if tensor.tensor_content:
        if len(tensor.tensor_content) != size * dtype.itemsize:
            raise InvalidInput(
                f"A tensor of shape {list(shape)} and dtype {dtype} takes {size * dtype.itemsize} bytes, "
                f"but has {len(tensor.tensor_content)}."
            )
        return np.frombuffer(tensor.tensor_content, dtype).reshape(shape)
    return _filled(_field_values(tensor, dtype), size, dtype.type(0)).reshape(shape)


def _field_values(tensor: TensorProto, dtype: np.dtype[Any]) -> Array:
    """The values in the field that a tensor of `dtype` keeps them in."""
    if dtype in _FIELDS:
        return np.asarray(getattr(tensor, _FIELDS[dtype]), dtype)
    if dtype.kind == "c":
        parts = tensor.scomplex_val if dtype == np.complex64 else tensor.dcomplex_val
        return np.asarray(parts[: len(parts) // 2 * 2], dtype.type(0).real.dtype).view(dtype)
    if dtype in (np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)):
        return np.asarray(tensor.half_val, np.uint16).view(dtype)
    if "float8" in dtype.name:
        return np.frombuffer(tensor.float8_val, dtype)
    return np.asarray(tensor.int_val, np.int32).astype(dtype)


def _filled(values: Array, size: int, zero: Any) -> Array:
    """`values` as an array of `size` elements by the rule of the last value repeated; read-only."""
    if len(values) > size:
        raise InvalidInput(f"A tensor of {size} elements has {len(values)} values.")
    if len(values) < size:
        last = values[-1] if len(values) else zero
        rest = np.empty(size - len(values), values.dtype)
        rest[:] = last
        values = np.concatenate([values, rest])
    values.flags.writeable = False
    return values


def _as_bytes(item: object) -> bytes:
    if isinstance(item, bytes):
        return item
    if isinstance(item, str):
        return item.encode()
    raise InvalidInput(f"{item!r} of type {type(item).__name__} cannot be sent as a string: use str or bytes.")


def dimensions(shape: TensorShapeProto) -> tuple[int | None, ...] | None:
    """A shape with None for a free dimension; None for an unknown rank."""
    if shape.unknown_rank:
        return None
    return tuple(None if dim.size < 0 else int(dim.size) for dim in shape.dim)

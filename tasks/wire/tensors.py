"""NumPy arrays to and from TensorFlow's `TensorProto`, without TensorFlow."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.wire import WireError
from tasks.wire.dtypes import Array, DataType, data_type_of, dtype_name
from tasks.wire.protos import TensorProto, TensorShapeProto


def to_proto(array: npt.ArrayLike) -> TensorProto:
    """`array`, of any shape, as a tensor; str and bytes become DT_STRING (UTF-8), other dtypes their own DataType.

    Raises:
        WireError: it holds objects other than str or bytes, or has a dtype that TensorFlow lacks.
    """
    values = np.asarray(array)
    if values.dtype.kind == "S" and not isinstance(array, np.ndarray):
        values = np.asarray(array, object)  # NumPy's own bytes dtype drops zeros at the end
    shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in values.shape])
    if values.dtype.kind in "OSUT":
        strings = [_as_bytes(item) for item in values.flat]
        return TensorProto(dtype=DataType.STRING, tensor_shape=shape, string_val=strings)
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    return TensorProto(dtype=data_type_of(values.dtype), tensor_shape=shape, tensor_content=values.tobytes())


def from_proto(tensor: TensorProto) -> Array:
    """The array in `tensor`, read-only; DT_STRING as an object array of bytes.

    Values are in `tensor_content` or in the field of their dtype; in that field missing values repeat the last one, and
    if there is none they are zero (`Tensor::FromProto` in tensorflow/core/framework/tensor.cc).

    Raises:
        WireError: a dtype that no array can carry, an unknown shape, or values that do not fit the shape.
    """
    if tensor.tensor_shape.unknown_rank or any(dim.size < 0 for dim in tensor.tensor_shape.dim):
        raise WireError("A tensor with values must have a known shape; this one's is unknown.")
    shape = tuple(dim.size for dim in tensor.tensor_shape.dim)
    size = math.prod(shape)
    kind = DataType(tensor.dtype)
    if kind is DataType.STRING:
        array: Array = np.empty(len(tensor.string_val), dtype=object)
        array[:] = tensor.string_val
        return _filled(array, size, b"").reshape(shape)
    if not kind.is_number:
        raise WireError(f"A tensor of dtype {dtype_name(tensor.dtype)!r} cannot be read as an array.")
    dtype = kind.numpy
    if tensor.tensor_content:
        if len(tensor.tensor_content) != size * dtype.itemsize:
            raise WireError(
                f"A tensor of shape {list(shape)} and dtype {dtype} takes {size * dtype.itemsize} bytes, "
                f"but has {len(tensor.tensor_content)}."
            )
        return np.frombuffer(tensor.tensor_content, dtype).reshape(shape)
    return _filled(_field_values(tensor, kind), size, dtype.type(0)).reshape(shape)


def _field_values(tensor: TensorProto, kind: DataType) -> Array:
    """The values in the field that a tensor of this type keeps them in."""
    values = getattr(tensor, kind.field)
    match kind.field:
        case "float8_val":
            return np.frombuffer(values, kind.numpy)
        case "half_val":
            return np.asarray(values, np.uint16).view(kind.numpy)
        case "scomplex_val" | "dcomplex_val":
            return np.asarray(values[: len(values) // 2 * 2], kind.numpy.type(0).real.dtype).view(kind.numpy)
        case "int_val":
            return np.asarray(values, np.int32).astype(kind.numpy)
        case _:
            return np.asarray(values, kind.numpy)


def _filled(values: Array, size: int, zero: Any) -> Array:
    """`values` `[n]` as an array `[size]`, with the last value repeated; read-only."""
    if len(values) > size:
        raise WireError(f"A tensor of {size} elements has {len(values)} values.")
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
    raise WireError(f"{item!r} of type {type(item).__name__} cannot be sent as a string: use str or bytes.")


def dimensions(shape: TensorShapeProto) -> tuple[int | None, ...] | None:
    """A shape with None for a free dimension; None for an unknown rank."""
    if shape.unknown_rank:
        return None
    return tuple(None if dim.size < 0 else int(dim.size) for dim in shape.dim)

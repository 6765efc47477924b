"""TensorProto ↔ the runtime's tensors."""

import math
from typing import Any

import numpy as np

from infra.modelserver import dtypes, runtime
from infra.modelserver.errors import Code, ServingError
from infra.modelserver.protos import tensor_pb2

# Packed repeated fields of TensorProto whose wire form is a tensor's own memory (little-endian, one byte per bool).
_PACKED_FIELDS = {1: 5, 2: 6, 8: 9, 10: 11, 18: 12}
_INT_FIELDS = {
    3: "int_val", 4: "int_val", 5: "int_val", 6: "int_val", 11: "int_val", 12: "int_val", 13: "int_val",
    15: "int_val", 16: "int_val", 17: "int_val", 9: "int64_val", 22: "uint32_val", 23: "uint64_val",
    29: "int_val", 30: "int_val",
}  # fmt: skip
_BITS_AS_HALF = {14: np.uint16, 19: np.uint16}
_BITS_AS_BYTES = (24, 25)


def from_proto(proto: Any) -> int:
    """A runtime tensor from a TensorProto; the caller gives it to `runtime.delete`.

    Raises ServingError where TensorFlow can't parse it.
    """
    content = proto.tensor_content
    if content and dtypes.is_plain(proto.dtype) and not proto.tensor_shape.unknown_rank:
        shape = [dim.size for dim in proto.tensor_shape.dim]
        if min(shape, default=0) >= 0 and math.prod(shape) * dtypes.numpy_dtype(proto.dtype).itemsize == len(content):
            return runtime.new_tensor(proto.dtype, shape, content, len(content))
    return runtime.tensor_from_proto(proto.SerializeToString())


def to_proto(tensor: int, proto: Any, *, as_content: bool) -> None:
    """Fill a TensorProto from a runtime tensor.

    as_content packs numbers into tensor_content; otherwise each type goes into its own field (float_val, …), which is
    what TensorFlow Serving answers unless it is told otherwise.
    """
    data_type = runtime.read_type(tensor)
    proto.dtype = data_type
    shape = proto.tensor_shape
    for size in runtime.read_shape(tensor):
        shape.dim.add().size = size
    if data_type == dtypes.DT_STRING:
        proto.string_val.extend(runtime.read_strings(tensor))
        return
    if not dtypes.is_number(data_type):
        raise ServingError(Code.UNIMPLEMENTED, f"An output of DataType {data_type} cannot be sent in a TensorProto.")
    content = runtime.read_content(tensor)
    if as_content and dtypes.is_plain(data_type):
        proto.tensor_content = content
    elif data_type in _PACKED_FIELDS:
        if content:
            proto.MergeFromString(_packed(_PACKED_FIELDS[data_type], content))
    elif data_type in _INT_FIELDS:
        getattr(proto, _INT_FIELDS[data_type]).extend(np.frombuffer(content, dtypes.numpy_dtype(data_type)).tolist())
    elif data_type in _BITS_AS_HALF:
        proto.half_val.extend(np.frombuffer(content, _BITS_AS_HALF[data_type]).tolist())
    elif data_type in _BITS_AS_BYTES:
        proto.float8_val = content


def _packed(field: int, content: bytes) -> bytes:
    head, size = bytearray(((field << 3) | 2,)), len(content)
    while size > 0x7F:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    head.append(size)
    return bytes(head) + content


def strings(values: list[bytes]) -> int:
    """A runtime tensor of rank 1 with these strings."""
    proto = tensor_pb2.TensorProto(dtype=dtypes.DT_STRING, string_val=values)
    proto.tensor_shape.dim.add().size = len(values)
    return runtime.tensor_from_proto(proto.SerializeToString())

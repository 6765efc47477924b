"""TensorProto ↔ the runtime's tensors."""

import math

import numpy as np

from infra.modelserver.errors import Code, StatusError
from infra.modelserver.runtime import c_api
from tasks.wire.dtypes import DataType
from tasks.wire.protos import TensorProto

# The tags of fields whose wire form is the tensor's own memory (little-endian, one byte per bool).
_PACKED_TAGS = {
    name: TensorProto.DESCRIPTOR.fields_by_name[name].number << 3 | 2
    for name in ("float_val", "double_val", "scomplex_val", "dcomplex_val", "bool_val")
}
_PIECE = 1 << 16  # elements that are converted before another thread may run


def from_proto(proto: TensorProto) -> int:
    """A runtime tensor from a TensorProto; the caller gives it to `c_api.delete`.

    Raises:
        StatusError: INVALID_ARGUMENT; TensorFlow cannot parse it.
    """
    content, kind = proto.tensor_content, DataType(proto.dtype)
    if content and kind.is_number and not proto.tensor_shape.unknown_rank:
        shape = [dim.size for dim in proto.tensor_shape.dim]
        if min(shape, default=0) >= 0 and math.prod(shape) * kind.numpy.itemsize == len(content):
            return c_api.new_tensor(proto.dtype, shape, content, len(content))
    return c_api.tensor_from_proto(proto.SerializeToString())


def to_proto(tensor: int, proto: TensorProto, *, as_content: bool) -> None:
    """Fill a TensorProto from a runtime tensor.

    as_content packs numbers into tensor_content; otherwise each type goes into its own field (float_val, …), which is
    what TensorFlow Serving answers by default.

    Raises:
        StatusError: UNIMPLEMENTED; a TensorProto cannot hold values of this type.
    """
    proto.dtype = c_api.read_type(tensor)
    kind = DataType(proto.dtype)
    shape = proto.tensor_shape
    for size in c_api.read_shape(tensor):
        shape.dim.add().size = size
    if kind is DataType.STRING:
        proto.string_val.extend(c_api.read_strings(tensor))
        return
    if not kind.is_number:
        raise StatusError(Code.UNIMPLEMENTED, f"An output of DataType {proto.dtype} cannot be sent in a TensorProto.")
    if kind.field in _PACKED_TAGS and not as_content:
        size = c_api.byte_size(tensor)
        if size:
            proto.MergeFromString(c_api.read_content(tensor, _packed_head(_PACKED_TAGS[kind.field], size)))
        return
    content = c_api.read_content(tensor)
    if as_content:
        proto.tensor_content = bytes(content)
    elif kind.field == "float8_val":
        proto.float8_val = bytes(content)
    else:
        field = getattr(proto, kind.field)
        values = np.frombuffer(content, np.uint16 if kind.field == "half_val" else kind.numpy)
        for at in range(0, len(values), _PIECE):
            field.extend(values[at : at + _PIECE].tolist())


def _packed_head(tag: int, size: int) -> bytes:
    """What comes before the `size` bytes of a packed field: its tag and length, as varints."""
    head = bytearray((tag,))
    while size > 0x7F:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    head.append(size)
    return bytes(head)

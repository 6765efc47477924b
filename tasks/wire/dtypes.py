"""TensorFlow's data types: the one table of their numbers, names, arrays and fields."""

from enum import IntEnum
from typing import Any, Self, TypeAlias

import ml_dtypes
import numpy as np
import numpy.typing as npt

from tasks.wire import WireError

Array: TypeAlias = npt.NDArray[Any]  # of any shape and dtype; where these matter, a docstring says which


class DataType(IntEnum):
    """TensorFlow's data types, named and numbered as in tensorflow/core/framework/types.proto.

    An array's memory is the tensor's, byte for byte, and so is a `tensor_content`: quantised types are carried as the
    integers that they are stored in, those of less than 8 bits in one byte each.

    `DataType(number)` is INVALID for a number that is not in the table.

    Attributes:
        numpy: the dtype of an array that carries it; `object` for strings, and for what no array can carry.
        field: the field of a TensorProto that holds its values (tensorflow/core/framework/tensor.cc).
    """

    numpy: np.dtype[Any]
    field: str

    def __new__(cls, number: int, scalar: npt.DTypeLike = object, field: str = "") -> Self:
        member = int.__new__(cls, number)
        member._value_ = number
        member.numpy = np.dtype(scalar)
        member.field = field
        return member

    @classmethod
    def _missing_(cls, value: object) -> "DataType":  # noqa: ARG003 - the name and arguments are Enum's
        return cls.INVALID

    FLOAT = 1, np.float32, "float_val"
    DOUBLE = 2, np.float64, "double_val"
    INT32 = 3, np.int32, "int_val"
    UINT8 = 4, np.uint8, "int_val"
    INT16 = 5, np.int16, "int_val"
    INT8 = 6, np.int8, "int_val"
    STRING = 7, object, "string_val"
    COMPLEX64 = 8, np.complex64, "scomplex_val"
    INT64 = 9, np.int64, "int64_val"
    BOOL = 10, np.bool_, "bool_val"
    BFLOAT16 = 14, ml_dtypes.bfloat16, "half_val"
    UINT16 = 17, np.uint16, "int_val"
    COMPLEX128 = 18, np.complex128, "dcomplex_val"
    HALF = 19, np.float16, "half_val"
    UINT32 = 22, np.uint32, "uint32_val"
    UINT64 = 23, np.uint64, "uint64_val"
    FLOAT8_E5M2 = 24, ml_dtypes.float8_e5m2, "float8_val"
    FLOAT8_E4M3FN = 25, ml_dtypes.float8_e4m3fn, "float8_val"
    FLOAT8_E4M3FNUZ = 26, ml_dtypes.float8_e4m3fnuz, "float8_val"
    FLOAT8_E4M3B11FNUZ = 27, ml_dtypes.float8_e4m3b11fnuz, "float8_val"
    FLOAT8_E5M2FNUZ = 28, ml_dtypes.float8_e5m2fnuz, "float8_val"
    INT4 = 29, ml_dtypes.int4, "int_val"
    UINT4 = 30, ml_dtypes.uint4, "int_val"
    INT2 = 31, ml_dtypes.int2, "int_val"
    UINT2 = 32, ml_dtypes.uint2, "int_val"
    FLOAT4_E2M1FN = 33, ml_dtypes.float4_e2m1fn, "float8_val"

    # Types that share an array's dtype with one above: an array of it has that type. And those without arrays.
    QINT8 = 11, np.int8, "int_val"
    QUINT8 = 12, np.uint8, "int_val"
    QINT32 = 13, np.int32, "int_val"
    QINT16 = 15, np.int16, "int_val"
    QUINT16 = 16, np.uint16, "int_val"
    RESOURCE = 20, object, "resource_handle_val"
    VARIANT = 21, object, "variant_val"
    INVALID = 0

    @property
    def is_number(self) -> bool:
        """Whether a tensor of this type is a block of plain numbers."""
        return self.numpy.kind != "O"

    @property
    def cc_name(self) -> str:
        """Its name in TensorFlow's C++ (`DataTypeString`) and in TensorFlow Serving: `float`, `half`, `string`, …"""
        return self.name.lower()

    @property
    def python_name(self) -> str:
        """Its name in TensorFlow's Python package (`DType.name`): `float32`, `float16`, `string`, …"""
        return self.numpy.name if self.is_number and _OF_ARRAY[self.numpy] is self else self.cc_name

    @property
    def is_array(self) -> bool:
        """Whether an array carries a tensor of this type."""
        return self.is_number or self is DataType.STRING

    @property
    def in_json(self) -> bool:
        """Whether TensorFlow Serving's REST API takes and gives it (tensorflow_serving/util/json_tensor.cc)."""
        return self in _IN_JSON


_IN_JSON = frozenset(
    (
        *(DataType.FLOAT, DataType.DOUBLE, DataType.BOOL, DataType.STRING, DataType.UINT8, DataType.INT8),
        *(DataType.INT16, DataType.INT32, DataType.UINT32, DataType.INT64, DataType.UINT64),
    )
)
_OF_ARRAY = {one.numpy: one for one in reversed(DataType)}
REF = 100  # a reference to a type (of TensorFlow 1's variables) has the type's number and this


def dtype_name(number: int) -> str:
    """The name that TensorFlow's Python package gives a DataType: `float32`, `string`, `bfloat16`, `resource`, …"""
    if number > REF and DataType(number - REF):
        return f"{dtype_name(number - REF)}_ref"
    kind = DataType(number)
    return kind.python_name if kind == number else f"unknown ({number})"


def data_type(name: str) -> DataType:
    """The DataType of this Python name, a reference's being that of what it refers to; INVALID if there is none."""
    plain = name.removesuffix("_ref")
    return next((kind for kind in DataType if kind.python_name == plain), DataType.INVALID)


def numpy_dtype(name: str) -> np.dtype[Any]:
    """The NumPy dtype that carries a dtype of this Python name: `object` for `string`.

    Raises:
        WireError: no array can carry it (`resource`, `variant`).
    """
    kind = data_type(name)
    if kind.is_array:
        return kind.numpy
    raise WireError(f"Tensors of dtype {name!r} cannot be sent: use a numeric dtype, bool or string.")


def data_type_of(dtype: np.dtype[Any]) -> DataType:
    """The type of an array of this dtype, in this machine's byte order; STRING for an object array.

    Raises:
        WireError: TensorFlow has no such type.
    """
    try:
        return _OF_ARRAY[dtype]
    except KeyError:
        raise WireError(
            f"An array of dtype {dtype} cannot be sent: TensorFlow has no such dtype; cast it first."
        ) from None

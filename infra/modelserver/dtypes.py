"""TensorFlow's DataType numbers and NumPy's types."""

from typing import Any

import ml_dtypes
import numpy as np

DT_FLOAT = 1
DT_STRING = 7

_NUMPY: dict[int, np.dtype[Any]] = {
    1: np.dtype(np.float32),
    2: np.dtype(np.float64),
    3: np.dtype(np.int32),
    4: np.dtype(np.uint8),
    5: np.dtype(np.int16),
    6: np.dtype(np.int8),
    DT_STRING: np.dtype(object),
    8: np.dtype(np.complex64),
    9: np.dtype(np.int64),
    10: np.dtype(np.bool_),
    11: np.dtype(np.int8),  # qint8
    12: np.dtype(np.uint8),  # quint8
    13: np.dtype(np.int32),  # qint32
    14: np.dtype(ml_dtypes.bfloat16),
    15: np.dtype(np.int16),  # qint16
    16: np.dtype(np.uint16),  # quint16
    17: np.dtype(np.uint16),
    18: np.dtype(np.complex128),
    19: np.dtype(np.float16),
    22: np.dtype(np.uint32),
    23: np.dtype(np.uint64),
    24: np.dtype(ml_dtypes.float8_e5m2),
    25: np.dtype(ml_dtypes.float8_e4m3fn),
    29: np.dtype(ml_dtypes.int4),
    30: np.dtype(ml_dtypes.uint4),
}
_QUANTIZED = frozenset(range(11, 14)) | {15, 16}
_DATA_TYPES = {dtype: number for number, dtype in _NUMPY.items() if number not in _QUANTIZED}


def numpy_dtype(data_type: int) -> np.dtype[Any]:
    """NumPy's type for a DataType number; strings, and what NumPy can't hold, are object."""
    return _NUMPY.get(data_type, _NUMPY[DT_STRING])


def data_type_of(dtype: np.dtype[Any]) -> int:
    """The DataType number of an array's type; object arrays are strings."""
    return _DATA_TYPES[dtype]


def is_number(data_type: int) -> bool:
    """Whether a tensor of this type is a block of plain numbers."""
    return data_type in _NUMPY and data_type != DT_STRING


def is_plain(data_type: int) -> bool:
    """Whether tensor_content of this type is the tensor's memory, byte for byte."""
    return is_number(data_type) and data_type not in _PACKED_IN_CONTENT


_PACKED_IN_CONTENT = frozenset((29, 30))  # 4-bit integers

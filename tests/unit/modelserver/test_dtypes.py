import numpy as np
import pytest

from infra.modelserver import dtypes
from infra.modelserver.protos import types_pb2


@pytest.mark.parametrize(
    ("name", "kind"),
    [("DT_FLOAT", np.float32), ("DT_DOUBLE", np.float64), ("DT_INT32", np.int32), ("DT_UINT8", np.uint8),
     ("DT_INT16", np.int16), ("DT_INT8", np.int8), ("DT_COMPLEX64", np.complex64), ("DT_INT64", np.int64),
     ("DT_BOOL", np.bool_), ("DT_UINT16", np.uint16), ("DT_COMPLEX128", np.complex128), ("DT_HALF", np.float16),
     ("DT_UINT32", np.uint32), ("DT_UINT64", np.uint64), ("DT_STRING", np.object_)],
)  # fmt: skip
def test_a_numpy_type_stands_for_the_plain_tensorflow_type(name: str, kind: type) -> None:
    number = types_pb2.DataType.Value(name)
    assert dtypes.numpy_dtype(number) == np.dtype(kind)
    assert dtypes.data_type_of(np.dtype(kind)) == number


@pytest.mark.parametrize("name", ["DT_QINT8", "DT_QUINT8", "DT_QINT32", "DT_QINT16", "DT_QUINT16"])
def test_quantized_types_are_numbers_that_no_array_stands_for(name: str) -> None:
    number = types_pb2.DataType.Value(name)
    assert dtypes.is_number(number)
    assert dtypes.data_type_of(dtypes.numpy_dtype(number)) != number


@pytest.mark.parametrize("name", ["DT_STRING", "DT_RESOURCE", "DT_VARIANT", "DT_INVALID"])
def test_what_is_no_number_is_told_apart(name: str) -> None:
    assert not dtypes.is_number(types_pb2.DataType.Value(name))
    assert not dtypes.is_plain(types_pb2.DataType.Value(name))


def test_packed_integers_are_not_plain_memory() -> None:
    assert dtypes.is_number(types_pb2.DataType.Value("DT_INT4"))
    assert not dtypes.is_plain(types_pb2.DataType.Value("DT_INT4"))

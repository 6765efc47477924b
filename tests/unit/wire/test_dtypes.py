import ml_dtypes
import numpy as np
import pytest

from infra.modelserver.rest.tensors import FLOATS, INT_RANGES
from tasks.wire import WireError
from tasks.wire.dtypes import DataType, data_type, data_type_of, dtype_name, numpy_dtype
from tasks.wire.protos import TensorProto

QUANTISED = {DataType.QINT8, DataType.QUINT8, DataType.QINT16, DataType.QUINT16, DataType.QINT32}


def test_the_table_is_tensorflows_own() -> None:
    from tensorflow.core.framework import types_pb2

    theirs = {name.removeprefix("DT_"): number for name, number in types_pb2.DataType.items() if number < 100}
    assert {kind.name: kind.value for kind in DataType} == theirs
    assert {kind.field for kind in DataType} - {""} <= set(TensorProto.DESCRIPTOR.fields_by_name)


def test_dtypes_have_the_names_and_the_arrays_that_tensorflow_gives_them() -> None:
    import tensorflow as tf
    from tensorflow.core.framework import types_pb2

    for number in set(types_pb2.DataType.values()) - {0}:
        theirs = tf.dtypes.as_dtype(number)
        assert dtype_name(number) == theirs.name
        if DataType(number).is_number and DataType(number) not in QUANTISED:
            assert DataType(number).numpy == theirs.as_numpy_dtype
    assert dtype_name(7777) == "unknown (7777)"


@pytest.mark.parametrize("kind", [kind for kind in DataType if kind.is_number or kind is DataType.STRING])
def test_an_array_stands_for_one_type(kind: DataType) -> None:
    assert (data_type_of(kind.numpy) is kind) is (kind not in QUANTISED)


def test_a_dtype_name_leads_to_the_array_that_carries_it() -> None:
    assert numpy_dtype("bfloat16") == ml_dtypes.bfloat16
    assert numpy_dtype("string") == np.dtype(object)
    assert numpy_dtype("qint8") == np.int8
    with pytest.raises(WireError, match="'variant' cannot be sent"):
        numpy_dtype("variant")


def test_what_tensorflow_has_no_type_for_is_refused() -> None:
    with pytest.raises(WireError, match=r"dtype datetime64\[D\] cannot be sent"):
        data_type_of(np.dtype("datetime64[D]"))


@pytest.mark.parametrize("number", [0, 20, 21, 99, 101, -1])
def test_what_no_array_can_hold_is_no_number(number: int) -> None:
    assert not DataType(number).is_number


def test_json_carries_what_the_model_server_carries_in_it() -> None:
    assert {kind for kind in DataType if kind.in_json} == {*FLOATS, *INT_RANGES, DataType.BOOL, DataType.STRING}


def test_a_reference_has_the_type_of_what_it_refers_to() -> None:
    assert (data_type("float32_ref"), data_type("string")) == (DataType.FLOAT, DataType.STRING)
    assert data_type("no such type") is DataType.INVALID
    assert numpy_dtype("float32_ref") == np.float32

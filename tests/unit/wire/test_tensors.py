import numpy as np
import pytest

from tasks.wire import WireError
from tasks.wire.dtypes import DataType
from tasks.wire.protos import TensorProto, TensorShapeProto
from tasks.wire.tensors import dimensions, from_proto, to_proto

NUMERIC = sorted({kind.numpy for kind in DataType if kind.is_number}, key=str)
# TensorFlow's Python package makes no tensors of these.
NOT_IN_PYTHON = ("float8_e4m3fnuz", "float8_e4m3b11fnuz", "float8_e5m2fnuz", "int2", "uint2", "float4_e2m1fn")
IN_PYTHON = [dtype for dtype in NUMERIC if dtype.name not in NOT_IN_PYTHON]


def shape(*sizes: int) -> TensorShapeProto:
    return TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in sizes])


@pytest.mark.parametrize("dtype", IN_PYTHON, ids=str)
@pytest.mark.parametrize("sizes", [(), (6,), (2, 3), (0, 2)], ids=str)
def test_arrays_come_back_from_a_tensor_and_are_what_tensorflow_makes_of_it(dtype: np.dtype, sizes: tuple[int]) -> None:
    import tensorflow as tf

    array = np.arange(np.prod(sizes, dtype=int)).reshape(sizes).astype(dtype)
    proto = to_proto(array)
    for back in (from_proto(proto), tf.make_ndarray(proto), from_proto(tf.make_tensor_proto(array))):
        assert back.dtype == array.dtype
        assert back.shape == array.shape
        assert np.array_equal(back, array)


@pytest.mark.parametrize("dtype", IN_PYTHON, ids=str)
def test_values_in_the_field_of_their_dtype_are_read_and_the_last_one_repeated(dtype: np.dtype) -> None:
    import tensorflow as tf

    expected = np.array([[1, 2], [2, 2]]).astype(dtype)
    one, two = (tf.make_tensor_proto(expected[0, n]) for n in (0, 1))  # it writes scalars into the fields
    values = TensorProto()
    values.CopyFrom(one)
    values.MergeFrom(two)
    values.float8_val = one.float8_val + two.float8_val  # one string of bytes, which a merge would replace
    values.tensor_shape.CopyFrom(shape(2, 2))
    assert not values.tensor_content
    assert np.array_equal(from_proto(values), expected)


def test_a_tensor_without_values_is_zero() -> None:
    assert np.array_equal(from_proto(TensorProto(dtype="DT_INT32", tensor_shape=shape(2))), [0, 0])
    assert from_proto(TensorProto(dtype="DT_STRING", tensor_shape=shape(2))).tolist() == [b"", b""]


def test_strings_come_back_as_bytes() -> None:
    assert from_proto(to_proto(["é", "b"])).tolist() == ["é".encode(), b"b"]
    assert from_proto(to_proto([[b"a\0", b""]])).tolist() == [[b"a\0", b""]]
    assert from_proto(to_proto(b"one\0")).item() == b"one\0"
    assert from_proto(to_proto(np.array(["x", "y"]))).tolist() == [b"x", b"y"]


def test_byte_order_does_not_matter() -> None:
    assert from_proto(to_proto(np.array([1, 256], ">i4"))).tolist() == [1, 256]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array(["a", None], object), "None of type NoneType cannot be sent"),
        (np.array(["2026-11-22"], "datetime64[D]"), "dtype datetime64.* cannot be sent"),
    ],
)
def test_what_tensorflow_has_no_dtype_for_is_refused(array: np.ndarray, message: str) -> None:
    with pytest.raises(WireError, match=message):
        to_proto(array)


@pytest.mark.parametrize(
    ("proto", "message"),
    [
        (TensorProto(dtype="DT_FLOAT", tensor_shape=TensorShapeProto(unknown_rank=True)), "known shape"),
        (TensorProto(dtype="DT_FLOAT", tensor_shape=shape(-1)), "known shape"),
        (TensorProto(dtype="DT_FLOAT", tensor_shape=shape(2), tensor_content=b"1234"), "takes 8 bytes, but has 4"),
        (TensorProto(dtype="DT_FLOAT", tensor_shape=shape(1), float_val=[1, 2]), "1 elements has 2 values"),
        (TensorProto(dtype="DT_STRING", tensor_shape=shape(), string_val=[b"", b""]), "1 elements has 2 values"),
        (TensorProto(dtype="DT_RESOURCE", tensor_shape=shape()), "'resource' cannot be read"),
    ],
)
def test_a_tensor_that_contradicts_itself_is_refused(proto: TensorProto, message: str) -> None:
    with pytest.raises(WireError, match=message):
        from_proto(proto)


def test_a_free_dimension_is_none_and_so_is_an_unknown_rank() -> None:
    assert dimensions(shape(-1, 28)) == (None, 28)
    assert dimensions(TensorShapeProto(unknown_rank=True)) is None

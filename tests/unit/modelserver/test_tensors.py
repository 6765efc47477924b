import numpy as np
import pytest

from infra.modelserver.errors import Code, StatusError
from infra.modelserver.runtime import c_api, tensors
from tasks.wire.dtypes import Array, DataType
from tasks.wire.protos import TensorProto
from tasks.wire.tensors import from_proto, to_proto

NUMBERS = [kind for kind in DataType if kind.is_number]


@pytest.fixture(scope="module", autouse=True)
def tensorflow() -> None:
    c_api.load()


def through_the_runtime(proto: TensorProto, *, parsed: bool, as_content: bool) -> tuple[TensorProto, Array]:
    """`proto` as a tensor (by TensorFlow's own parser or the quick way), then as a proto and as an array."""
    tensor = c_api.tensor_from_proto(proto.SerializeToString()) if parsed else tensors.from_proto(proto)
    answer = TensorProto()
    try:
        tensors.to_proto(tensor, answer, as_content=as_content)
        return answer, c_api.array_from_tensor(tensor)
    finally:
        c_api.delete(tensor)


@pytest.mark.parametrize("as_content", [False, True], ids=["fields", "content"])
@pytest.mark.parametrize("parsed", [False, True], ids=["quick", "parsed"])
@pytest.mark.parametrize("kind", NUMBERS, ids=lambda kind: kind.cc_name)
def test_numbers_pass_as_they_are(kind: DataType, parsed: bool, as_content: bool) -> None:
    array = np.array([[0, 1, 1], [1, 0, 1]]).astype(kind.numpy)
    asked = to_proto(array)
    asked.dtype = kind
    answer, got = through_the_runtime(asked, parsed=parsed, as_content=as_content)
    assert answer.dtype == kind
    assert bool(answer.tensor_content) is as_content
    for back in (from_proto(answer), got):
        assert back.dtype == array.dtype
        assert np.array_equal(back, array)
    if not as_content:  # the fields are TensorFlow's own: it reads the same from them
        assert np.array_equal(through_the_runtime(answer, parsed=True, as_content=True)[1], array)


@pytest.mark.parametrize("as_content", [False, True], ids=["fields", "content"])
def test_strings_pass_as_they_are(as_content: bool) -> None:
    answer, got = through_the_runtime(to_proto([[b"a\0", b""]]), parsed=False, as_content=as_content)
    assert from_proto(answer).tolist() == got.tolist() == [[b"a\0", b""]]


def test_a_tensor_that_no_proto_holds_is_refused() -> None:
    tensor = c_api.new_tensor(DataType.RESOURCE, [0], None, 0)
    with pytest.raises(StatusError, match="An output of DataType 20 cannot be sent") as caught:
        tensors.to_proto(tensor, TensorProto(), as_content=False)
    assert caught.value.code is Code.UNIMPLEMENTED
    c_api.delete(tensor)

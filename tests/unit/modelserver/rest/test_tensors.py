"""A predict request's JSON into tensors: values, and the texts of what is refused."""

import contextlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.modelserver.errors import Code, StatusError
from infra.modelserver.rest.numbers import number_inputs
from infra.modelserver.rest.parser import Document
from infra.modelserver.rest.tensors import PredictInputs, predict_inputs
from infra.modelserver.runtime.servable import Signature, TensorInfo
from tasks.wire.dtypes import DataType

FLOAT, DOUBLE, INT32, UINT8, INT16, INT8, STRING, COMPLEX64, INT64, BOOL = range(1, 11)
BFLOAT16, HALF, UINT32, UINT64 = 14, 19, 22, 23


def signature(inputs: Mapping[str, int]) -> Signature:
    infos = {
        alias: TensorInfo(f"{alias}:0", DataType(kind).numpy, kind, None) for alias, kind in sorted(inputs.items())
    }
    return Signature("serving_default", "tensorflow/serving/predict", infos, {})


def read(body: str | bytes, **inputs: int) -> PredictInputs:
    """The inputs, read by the general reader, and by the fast one to the same arrays wherever that one reads them."""
    content = body.encode() if isinstance(body, str) else body
    asked = signature(inputs)
    fast = number_inputs(Document(content), asked)
    general = predict_inputs(Document(content), asked)
    if fast is not None:
        assert_same(fast, general)
    return general


def read_fast(body: bytes, asked: Signature) -> PredictInputs | None:
    """What the fast reader makes of a body; None if it leaves it to the other."""
    try:
        return number_inputs(Document(body), asked)
    except StatusError:
        return None


def read_as_rapidjson(body: bytes, asked: Signature) -> PredictInputs:
    """What the reader of RapidJSON's dialect makes of a body, and nothing quicker."""
    document = Document(body)
    document.strict = None
    return predict_inputs(document, asked)


def assert_same(one: PredictInputs, other: PredictInputs) -> None:
    assert one.row_format == other.row_format
    assert one.arrays.keys() == other.arrays.keys()
    for alias, array in one.arrays.items():
        assert array.dtype == other.arrays[alias].dtype
        np.testing.assert_array_equal(array, other.arrays[alias])


def refusal(body: str, **inputs: int) -> StatusError:
    asked = signature(inputs)

    def read_it() -> None:
        document = Document(body.encode())
        document.signature_name()
        assert number_inputs(document, asked) is None
        predict_inputs(document, asked)

    with pytest.raises(StatusError) as raised:
        read_it()
    return raised.value


def array(body: str, kind: int) -> Any:
    return read(body, x=kind).arrays["x"]


# What is read


@pytest.mark.parametrize(
    ("body", "kind", "values", "shape"),
    [
        ('{"instances": [1.0, 2, -3]}', FLOAT, [1, 2, -3], (3,)),
        ('{"instances": [[1, 2], [3, 4], [5, 6]]}', FLOAT, [1, 2, 3, 4, 5, 6], (3, 2)),
        ('{"inputs": [[1, 2], [3, 4]]}', DOUBLE, [1, 2, 3, 4], (2, 2)),
        ('{"inputs": 3.5}', FLOAT, [3.5], ()),
        ('{"inputs": {"x": 2}}', INT32, [2], ()),
        ('{"inputs": []}', FLOAT, [], (0,)),
        ('{"instances": [[], []]}', FLOAT, [], (2, 0)),
        ('{"instances": [[], []]}', HALF, [], (2, 0)),
        ('{"instances": [{"x": [1]}, {"x": [2]}]}', FLOAT, [1, 2], (2, 1)),
        ('{"instances": [NaN, Infinity, -Infinity]}', FLOAT, [np.nan, np.inf, -np.inf], (3,)),
        ('{"instances": [1e39, 1e-46]}', FLOAT, [np.inf, 0], (2,)),
        ('{"instances": [16777217]}', FLOAT, [16777216], (1,)),
        ('{"instances": [-2147483648, 2147483647]}', INT32, [-(2**31), 2**31 - 1], (2,)),
        ('{"instances": [300, -1]}', UINT8, [44, 255], (2,)),
        ('{"instances": [128, -129]}', INT8, [-128, 127], (2,)),
        ('{"instances": [32768]}', INT16, [-32768], (1,)),
        ('{"instances": [-9223372036854775808]}', INT64, [-(2**63)], (1,)),
        ('{"instances": [4294967295]}', UINT32, [2**32 - 1], (1,)),
        ('{"instances": [18446744073709551615, 0]}', UINT64, [2**64 - 1, 0], (2,)),
        ('{"instances": [true, false]}', BOOL, [True, False], (2,)),
        ('{"instances": ["a", "é", ""]}', STRING, [b"a", "é".encode(), b""], (3,)),
        ('{"instances": [{"b64": "aGVsbG8="}, {"b64": ""}]}', STRING, [b"hello", b""], (2,)),
        ('{"instances": [["a", {"b64": "/w"}]]}', STRING, [b"a", b"\xff"], (1, 2)),
        ('{"inputs": {"b64": "aG k=\\n"}}', STRING, [b"hi"], ()),
        ('{"inputs": {"x": [{"b64": "AAE."}]}}', STRING, [b"\x00\x01"], (1,)),
        ('{"signature_name": "any", "instances": [1]}', FLOAT, [1], (1,)),
        ('{"instances": [1], "instances": [2, 3]}', FLOAT, [1], (1,)),
        ('{"instances": [{"x": 1, "x": 2}, {"x": 3}]}', FLOAT, [1, 2], (2,)),
        ('{"more": {"k": [true]}, "instances": [1]}', FLOAT, [1], (1,)),
    ],
)
def test_a_request_becomes_a_tensor(body: str, kind: int, values: list[Any], shape: tuple[int, ...]) -> None:
    got = array(body, kind)
    assert got.dtype == DataType(kind).numpy
    assert got.shape == shape
    np.testing.assert_array_equal(got.ravel(), np.array(values, got.dtype))


def test_rows_of_objects_become_an_array_for_each_input() -> None:
    rows = [{"age": i, "name": f"n{i}", "scores": [i / 2, 1]} for i in range(3)]
    got = read(json.dumps({"instances": rows}), age=INT64, name=STRING, scores=FLOAT)
    assert got.row_format
    assert got.arrays["age"].tolist() == [0, 1, 2]
    assert got.arrays["name"].tolist() == [b"n0", b"n1", b"n2"]
    assert got.arrays["scores"].tolist() == [[0, 1], [0.5, 1], [1, 1]]


def test_columns_need_not_agree_in_anything() -> None:
    got = read('{"inputs": {"b": [1, 2, 3], "a": [[1.5]], "other": "ignored"}}', a=FLOAT, b=INT32)
    assert not got.row_format
    assert (got.arrays["a"].shape, got.arrays["b"].shape) == ((1, 1), (3,))


def test_rows_may_name_their_inputs_in_any_order() -> None:
    got = read('{"instances": [{"a": 1, "b": 2}, {"b": 4, "a": 3}]}', a=FLOAT, b=FLOAT)
    assert (got.arrays["a"].tolist(), got.arrays["b"].tolist()) == ([1, 3], [2, 4])


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (b'{"signature_name": "s", "inputs": 1}', "s"),
        (b'{"signature_name": "s", "inputs": NaN}', "s"),
        (b'{"inputs": true}', ""),
        (b'{"signature_name": "s", "inputs": 1, "signature_name": "t"}', "s"),
    ],
)
def test_a_body_may_name_a_signature(body: bytes, name: str) -> None:
    assert Document(body).signature_name() == name


def test_numbers_alone_take_the_fast_way() -> None:
    asked = signature({"x": FLOAT})
    for body in (b'{"instances": [[1, 2.5]]}', b'{"instances": [{"x": [1]}, {"x": [2]}]}', b'{"inputs": {"x": 7}}'):
        assert number_inputs(Document(body), asked) is not None


# What is refused


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("{}", "Missing 'inputs' or 'instances' key"),
        ('{"instances": []}', "JSON Value: {\n    \"instances\": []\n} No values in 'instances' array"),
        (
            '{"instances": [1.0], "inputs": [1.0]}',
            'JSON Value: {\n    "instances": [1.0],\n    "inputs": [1.0]\n} Not formatted correctly expecting only'
            " one of 'inputs' or 'instances' keys to exist ",
        ),
        ('{"instances": "x"}', 'JSON Value: {\n    "instances": "x"\n} Expecting \'instances\' to be an list/array'),
        (
            '{"signature_name": 5, "instances": [1]}',
            'JSON Value: {\n    "signature_name": 5,\n    "instances": [1]\n} not formatted correctly.'
            " 'signature_name' key must be a string value.",
        ),
        (
            '{"instances": [1.0, "a"]}',
            "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: JSON Value: \"a\" Type: String"
            " is not of expected type: float",
        ),
        (
            '{"instances": [[1, 2, 3, 4], [1, 2, 3]]}',
            "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: Expecting tensor size: 4 but"
            " got: 3",
        ),
        (
            '{"instances": [[1, 2], [[1, 2]]]}',
            "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: Expecting shape [2] but got:"
            " [1,2]",
        ),
        (
            '{"instances": [1, [1]]}',
            "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: Expecting shape [] but got:"
            " [1]",
        ),
        (
            '{"instances": [[[1, 2], [3]]]}',
            "Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: Encountered list at unexpected"
            " size: 1 at level: 1 expected size: 2",
        ),
        (
            '{"instances": [[[1], 2]]}',
            "Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: JSON Value: 2 found at"
            " incorrect level: 2 in the JSON DOM. Expected at level: 2",
        ),
        (
            '{"instances": [[1, [2]]]}',
            "Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: Encountered list at unexpected"
            " level: 1 expected < 1",
        ),
        (
            '{"instances": [{"y": 1.0}]}',
            "Failed to process element: 0 key: y of 'instances' list. Error: INVALID_ARGUMENT: JSON object: does not"
            " have named input: y",
        ),
        (
            '{"instances": [{}]}',
            "Failed to process element: 0 of 'instances' list. JSON object: {} keys must be equal to: x",
        ),
        ('{"instances": [{"x": 1}, 2]}', "Expecting object but got list at item 1 of input list"),
        ('{"instances": [2, {"x": 1}]}', "Expecting value/list but got object at item 1 of input list"),
        (
            '{"instances": [{"b64": "AA=="}]}',
            "Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: JSON Value: {\n"
            '    "b64": "AA=="\n} Type: Object is not of expected type: float',
        ),
        (
            '{"instances": [null]}',
            "Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: JSON Value: null Type: Null is"
            " not of expected type: float",
        ),
        (
            '{"instances": [true]}',
            "Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: JSON Value: true Type: True is"
            " not of expected type: float",
        ),
        ('{"inputs": {"y": [1.0]}}', "Missing named input: x in 'inputs' object."),
        ('{"inputs": null}', "JSON Value: null Type: Null is not of expected type: float"),
        ('{"inputs": [[1], [2, 3]]}', "Encountered list at unexpected size: 2 at level: 1 expected size: 1"),
        (
            '{"inputs": {"b64": "AA=="}}',
            'JSON Value: {\n    "b64": "AA=="\n} Type: Object is not of expected type: float',
        ),
    ],
)
def test_what_is_wrong_is_told_in_tensorflow_servings_words(body: str, text: str) -> None:
    error = refusal(body, x=FLOAT)
    assert (error.code, error.message) == (Code.INVALID_ARGUMENT, text)


@pytest.mark.parametrize(
    ("body", "kind", "text"),
    [
        ("1.5", INT32, "JSON Value: 1.5 Type: Number is not of expected type: int32"),
        ("1.0", INT64, "JSON Value: 1.0 Type: Number is not of expected type: int64"),
        ("3000000000", INT32, "JSON Value: 3000000000 Type: Number is not of expected type: int32"),
        ("9223372036854775808", INT64, "JSON Value: 9223372036854775808 Type: Number is not of expected type: int64"),
        ("-1", UINT32, "JSON Value: -1 Type: Number is not of expected type: uint32"),
        ("-1", UINT64, "JSON Value: -1 Type: Number is not of expected type: uint64"),
        ("18446744073709551616", UINT64, "JSON Value: 1.84467441e+19 Type: Number is not of expected type: uint64"),
        ("3000000000", INT8, "JSON Value: 3000000000 Type: Number is not of expected type: int8"),
        ("1", STRING, "JSON Value: 1 Type: Number is not of expected type: string"),
        ("1", BOOL, "JSON Value: 1 Type: Number is not of expected type: bool"),
        ("NaN", INT32, "JSON Value: NaN Type: Number is not of expected type: int32"),
        ('{"b64": "!"}', STRING, "Unable to base64 decode"),
        ('{"b65": "AA"}', STRING, None),
        ('[{"b64": 1}]', STRING, 'JSON Value: {\n    "b64": 1\n} not formatted correctly for base64 data'),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(body: str, kind: int, text: str | None) -> None:
    error = refusal(f'{{"inputs": {body}}}', x=kind)
    assert (error.code, error.message) == (Code.INVALID_ARGUMENT, text or "Missing named input: x in 'inputs' object.")


@pytest.mark.parametrize(("kind", "name"), [(HALF, "half"), (BFLOAT16, "bfloat16"), (COMPLEX64, "complex64")])
def test_types_that_json_has_no_form_for_are_unimplemented(kind: int, name: str) -> None:
    error = refusal('{"inputs": [1]}', x=kind)
    assert (error.code, error.message) == (Code.UNIMPLEMENTED, f"Conversion of JSON Value: 1 to type: {name}")
    error = refusal('{"instances": [0.5]}', x=kind)
    assert error.code is Code.INVALID_ARGUMENT
    assert error.message == (
        "Failed to process element: 0 of 'instances' list. Error: UNIMPLEMENTED: Conversion of JSON Value: 0.5 to"
        f" type: {name}"
    )


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (
            '{"instances": [1.0]}',
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per"
            " tensorinfo_map",
        ),
        (
            '{"inputs": [1.0]}',
            "inputs is a plain value/list, but expecting an object as multiple input tensors required as per"
            " tensorinfo_map",
        ),
        (
            '{"instances": [{"a": [1.0, 2.0]}]}',
            "Failed to process element: 0 of 'instances' list. JSON object: {\n    \"a\": [1.0, 2.0]\n} keys must be"
            " equal to: a,b",
        ),
        (
            '{"instances": [{"a": 1, "b": 2}, {"a": 1, "b": [2]}]}',
            "Failed to process element: 1 key: b of 'instances' list. Error: INVALID_ARGUMENT: Expecting shape [] but"
            " got: [1]",
        ),
        (
            '{"instances": [{"a": 1, "b": 2, "c": 1}]}',
            "Failed to process element: 0 key: c of 'instances' list. Error: INVALID_ARGUMENT: JSON object: does not"
            " have named input: c",
        ),
    ],
)
def test_requests_for_several_inputs_are_checked(body: str, text: str) -> None:
    assert refusal(body, a=FLOAT, b=FLOAT).message == text


def test_a_signature_without_inputs_takes_no_request() -> None:
    assert refusal('{"instances": [1]}').message == "Failed to get input map for signature: DEFAULT"
    assert refusal('{"signature_name": "s", "instances": [1]}').message == "Failed to get input map for signature: s"


def test_more_dimensions_than_a_tensor_may_have_are_refused() -> None:
    deep = "[" * 300 + "1" + "]" * 300
    assert refusal(f'{{"inputs": {deep}}}', x=FLOAT).message == "tensor parsing error: x"


# The fast reader and the general one agree

numbers = st.integers(-(2**65), 2**65) | st.floats(allow_nan=False, width=32) | st.integers(-3, 300)
odd = numbers | st.booleans() | st.none() | st.text(max_size=2) | st.just({"b64": "AA=="})
shapes = st.lists(st.integers(0, 3), max_size=3)


@st.composite
def nests(draw: st.DrawFn, leaf: st.SearchStrategy[Any]) -> Any:
    def nest(sizes: list[int]) -> Any:
        return [nest(sizes[1:]) for _ in range(sizes[0])] if sizes else draw(leaf)

    value = nest(draw(shapes))
    if isinstance(value, list) and value and draw(st.integers(0, 9)) == 0:
        value[draw(st.integers(0, len(value) - 1))] = nest(draw(shapes))
    return value


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    leaf = draw(st.sampled_from([numbers, st.integers(-3, 300), odd]))
    form = draw(st.sampled_from(["rows", "named rows", "column", "named columns"]))
    if form == "rows":
        document: dict[str, Any] = {"instances": draw(nests(leaf))}
    elif form == "named rows":
        shape = draw(st.lists(st.sampled_from(["a", "b", "x"]), unique=True, min_size=1, max_size=2))
        document = {"instances": [{key: draw(nests(leaf)) for key in shape} for _ in range(draw(st.integers(0, 3)))]}
    elif form == "column":
        document = {"inputs": draw(nests(leaf))}
    else:
        document = {"inputs": {key: draw(nests(leaf)) for key in draw(st.lists(st.sampled_from("abx"), max_size=3))}}
    if draw(st.booleans()):
        document["signature_name"] = draw(st.sampled_from(["s", "", 'q"', "a,b"]))
    return json.dumps(document, separators=draw(st.sampled_from([(",", ":"), (", ", ": ")]))).encode()


@given(bodies(), st.sampled_from([{"x": FLOAT}, {"a": FLOAT, "b": INT32}, {"x": UINT64}, {"x": UINT8}, {"x": STRING}]))
def test_the_fast_reader_reads_what_the_general_one_reads(body: bytes, inputs: dict[str, int]) -> None:
    asked = signature(inputs)
    fast = read_fast(body, asked)
    if fast is not None:
        assert_same(fast, read_as_rapidjson(body, asked))
    with contextlib.suppress(StatusError):
        general = predict_inputs(Document(body), asked)
        assert_same(general, read_as_rapidjson(body, asked))


SPELLINGS = (
    "-0",
    "1.0",
    "1e5",
    "1E+2",
    "1.",
    "01",
    "+1",
    ".5",
    "1e400",
    "-1e-400",
    "0x1",
    "9223372036854775808",
    "- 1",
)


@given(bodies(), st.data())
def test_the_fast_reader_never_reads_what_the_general_one_refuses(body: bytes, data: st.DataObject) -> None:
    """Bodies that are almost right: one number is spelt otherwise, or one character is another, or is gone."""
    places = [at for at, byte in enumerate(body) if byte in b"0123456789"] or [0]
    at, size = data.draw(st.sampled_from(places) | st.integers(0, len(body) - 1)), data.draw(st.integers(0, 1))
    put = data.draw(st.sampled_from(SPELLINGS) | st.sampled_from([*'[]{},:" \\0-.eE\n\t\x00', "", "é", "null", "NaN"]))
    harmed = body[:at] + put.encode() + body[at + size :]
    asked = signature({"x": data.draw(st.sampled_from([FLOAT, INT32, UINT64, HALF]))})
    fast = read_fast(harmed, asked)
    if fast is not None:
        assert_same(fast, read_as_rapidjson(harmed, asked))


@pytest.mark.parametrize(
    "body",
    [
        b'{"instances": [[1, 2], [3], [4, 5, 6]]}',
        b'{"instances": [[[1], [2]], [[3, 4]]]}',
        b'{"inputs": {"x": [[1, 2], [3]]}}',
        b'{"instances": [{"x": 1, "x": 2}]}',
        b'{"instances": [{"x": [1, 2]}, {"x": [[3], 4]}]}',
        b'{"inputs": {"x": 1, "x": 2}}',
        b'{"instances": [1], "instances": [2]}',
        b'{"instances": [1], "inputs": [2]}',
        b'{"instances": [1], "a": "b"}',
        b'{"signature_name": ",", "instances": [1]}',
        b'{"instances": [1, true]}',
        b'{"instances": [1, null]}',
        b'{"instances": [1, "2"]}',
        b'{"instances": [[]]}',
        b'{"instances": [NaN]}',
    ],
)
def test_the_fast_reader_leaves_alone_what_is_not_plainly_numbers(body: bytes) -> None:
    asked = signature({"x": FLOAT})
    assert number_inputs(Document(body), asked) is None

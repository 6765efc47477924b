"""Reading JSON as RapidJSON 1.1.0 reads it: the texts and offsets here are that library's own."""

import contextlib
import json
import math
from typing import Any

import pytest
import simdjson
from hypothesis import given
from hypothesis import strategies as st

from infra.modelserver.errors import Code, StatusError
from infra.modelserver.rest import parser
from infra.modelserver.rest.json_text import Json, RepeatedKeys, members, to_bytes
from infra.modelserver.rest.parser import Document


def parse_object(body: bytes) -> dict[str, Json]:
    return Document(body).members()


PARSE_ERRORS = [
    (b" ", "The document is empty.", 1),
    (b"\xef\xbb\xbf", "The document is empty.", 3),
    (b"{", "Missing a name for object member.", 1),
    (b'{"a":1,}', "Missing a name for object member.", 7),
    (b"{a:1}", "Missing a name for object member.", 1),
    (b'{"a"', "Missing a colon after a name of object member.", 4),
    (b'{"a" 1}', "Missing a colon after a name of object member.", 5),
    (b'{"a":', "Invalid value.", 5),
    (b'{"a":1', "Missing a comma or '}' after an object member.", 6),
    (b'{"a":0x10}', "Missing a comma or '}' after an object member.", 6),
    (b"[1,2", "Missing a comma or ']' after an array element.", 4),
    (b"[1,]", "Invalid value.", 3),
    (b"[,1]", "Invalid value.", 1),
    (b'{"instances": [1.0, 2.0}', "Missing a comma or ']' after an array element.", 23),
    (b'{"instances": [1.0, 2.0,, 5.0]}', "Invalid value.", 24),
    (b"nul", "Invalid value.", 3),
    (b"True", "Invalid value.", 0),
    (b"None", "Invalid value.", 1),
    (b"-Infinit", "Invalid value.", 8),
    (b"Nan", "Invalid value.", 2),
    (b"-", "Invalid value.", 1),
    (b"+1", "Invalid value.", 0),
    (b".5", "Invalid value.", 0),
    (b'"abc', "Missing a closing quotation mark in string.", 4),
    (b'"a\x00b"', "Missing a closing quotation mark in string.", 2),
    (b'"a\nb"', "Invalid escape character in string.", 2),
    (b'"\\x"', "Invalid escape character in string.", 1),
    (b'"\\u12G4"', "Incorrect hex digit after \\u escape in string.", 1),
    (b'"\\ud800"', "The surrogate pair in string is invalid.", 1),
    (b'"\\ud800\\u0041"', "The surrogate pair in string is invalid.", 1),
    (b"1.", "Miss fraction part in number.", 2),
    (b"1.e5", "Miss fraction part in number.", 2),
    (b"1e+", "Miss exponent in number.", 3),
    (b"1e309", "Number too big to be stored in double.", 0),
    (b'{"x": 9e308}', "Number too big to be stored in double.", 6),
    (b"[1, " + b"1" * 310 + b"]", "Number too big to be stored in double.", 4),
]


@pytest.mark.parametrize(("body", "text", "offset"), PARSE_ERRORS)
def test_a_parse_error_has_rapidjsons_text_and_offset(body: bytes, text: str, offset: int) -> None:
    with pytest.raises(StatusError) as raised:
        parse_object(body)
    assert raised.value.code is Code.INVALID_ARGUMENT
    assert raised.value.message == f"JSON Parse error: {text} at offset: {offset}"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "JSON Parse error: The document is empty"),
        (b"null", "JSON Value: null Is not object"),
        (b"[1, 2]", "JSON Value: [1, 2] Is not object"),
        (b'"a"', 'JSON Value: "a" Is not object'),
        (b"0.5", "JSON Value: 0.5 Is not object"),
    ],
)
def test_a_body_that_is_no_object_is_refused(body: bytes, message: str) -> None:
    with pytest.raises(StatusError, match=r"^INVALID_ARGUMENT: ") as raised:
        parse_object(body)
    assert raised.value.message == message


@pytest.mark.parametrize(
    ("number", "value"),
    [
        ("-0", 0),
        ("4294967296", 4294967296),
        ("-9223372036854775808", -(2**63)),
        ("18446744073709551615", 2**64 - 1),
        ("18446744073709551616", 18446744073709551616.0),
        ("-9223372036854775809", -9223372036854775808.0),
        ("1e5", 100000.0),
        ("1e-400", 0.0),
        ("1e-99999999999999999999", 0.0),
        ("0.0000000000000000000000000000000000000001e45", 1e5),
        ("Infinity", math.inf),
        ("-Inf", -math.inf),
        ("468828122454.15686", 468828122454.15686),
    ],
)
def test_a_number_is_the_same_in_json_as_in_rapidjsons_dialect(number: str, value: float) -> None:
    for ending in (b"", b"\0"):  # which RapidJSON alone reads
        read = parse_object(b'{"x": %s}%s' % (number.encode(), ending))["x"]
        assert (type(read), read) == (type(value), value)


def test_nan_is_a_number() -> None:
    assert math.isnan(parse_object(b'{"x": [NaN, -NaN]}')["x"][0])


def test_a_body_is_parsed_twice_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []
    strict, own = simdjson.Parser, parser._Reader

    def counted(kind: str, make: Any) -> Any:
        def made(*args: Any) -> Any:
            parsed.append(kind)
            return make(*args)

        return made

    monkeypatch.setattr(simdjson, "Parser", counted("strict", strict))
    monkeypatch.setattr(parser, "_Reader", counted("own", own))
    for body, kinds in (
        (b'{"instances": [1.5]}', ["strict"]),
        (b'{"signature_name": "s", "instances": ["a", true]}', ["strict"]),
        (b'{"a": 1, "a": 2}', ["strict", "own"]),
        (b'{"a": NaN}', ["strict", "own"]),
        (b'{"a": 0.1, "signature_name": 0.1}', ["strict"]),
        (b"[0.1", ["strict", "own"]),
    ):
        parsed.clear()
        with contextlib.suppress(StatusError):
            document = Document(body)
            document.members()
            document.signature_name()
        assert parsed == kinds, body


def test_the_first_of_repeated_keys_counts_and_all_are_kept() -> None:
    document = parse_object(b'{"a": 1, "b": 2, "a": 3}')
    assert isinstance(document, RepeatedKeys)
    assert document["a"] == 1
    assert list(members(document)) == [("a", 1), ("b", 2), ("a", 3)]


def test_repeated_keys_are_seen_when_one_is_spelled_with_an_escape() -> None:
    assert parse_object(b'{"a": 1, "\\u0061": 2}')["a"] == 1
    assert parse_object(b'{"\\u0022": 1, "\\"": 2}')['"'] == 1


def test_bytes_that_are_no_utf8_come_back_as_they_were() -> None:
    assert to_bytes(parse_object(b'{"x": "a\xff\xc3"}')["x"]) == b"a\xff\xc3"


def test_a_lone_low_surrogate_becomes_three_bytes() -> None:
    assert to_bytes(parse_object(b'{"x": "\\udc00"}')["x"]) == b"\xed\xb0\x80"


def test_what_follows_a_nul_byte_does_not_count() -> None:
    assert parse_object(b'{"x": 1}\0 and more') == {"x": 1}


def test_a_byte_order_mark_is_skipped() -> None:
    assert parse_object(b'\xef\xbb\xbf{"x": 1}') == {"x": 1}


@pytest.mark.parametrize(("before", "after"), [(b"[", b"]"), (b'{"a": ', b"}")])
def test_nesting_is_read_to_any_depth_and_too_much_of_it_is_refused_without_running_out_of_stack(
    before: bytes, after: bytes
) -> None:
    deep, levels = parse_object(b'{"x": ' + before * 100_000 + b"1" + after * 100_000 + b"}")["x"], 0
    while deep != 1:
        deep, levels = deep["a"] if isinstance(deep, dict) else deep[0], levels + 1
    assert levels == 100_000
    with pytest.raises(StatusError, match="More than 250000 arrays and objects"):
        parse_object(b'{"x": ' + before * 1_000_000)


def test_a_long_list_with_nan_in_it_is_read_whole() -> None:
    numbers = [0.5, 1, -2e-3] * 1000
    text = json.dumps(numbers[:1500])[:-1] + ", NaN, " + json.dumps(numbers[1500:])[1:]
    read = parse_object(b'{"x": %s}' % text.encode())["x"]
    assert read[:1500] + read[1501:] == numbers
    assert math.isnan(read[1500])


def test_a_number_too_big_deep_in_a_long_list_is_found() -> None:
    body = b'{"x": [' + b"1.5, " * 1000 + b"1e999" + b", 2" * 1000 + b"]}"
    with pytest.raises(StatusError, match=r"stored in double\. at offset: 5007"):
        parse_object(body)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=3), json_values, max_size=4))
def test_any_json_object_is_read_as_python_reads_it(document: dict[str, object]) -> None:
    body = json.dumps(document).encode()
    assert parse_object(body) == document


json_like = st.text(alphabet='{}[],:"\\0123456789.eE+-truefalsnNIity \n', max_size=40).map(str.encode)


@given(st.binary(max_size=60) | json_like)
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    with contextlib.suppress(StatusError):
        parse_object(body)


@pytest.mark.parametrize("after", [b" trailing", b"}", b",", b' {"a": 2}', b"\0", b"\xff", b"0"])
def test_what_follows_the_document_is_passed_over(after: bytes) -> None:
    assert parse_object(b'{"a": 1}' + after) == {"a": 1}


@pytest.mark.parametrize("after", [b"", b"]"])
def test_more_arrays_and_objects_than_any_client_needs_are_refused(
    monkeypatch: pytest.MonkeyPatch, after: bytes
) -> None:
    monkeypatch.setattr(parser, "MOST_CONTAINERS", 1000)
    monkeypatch.setattr(parser, "_MANY_CONTAINERS", 100)
    with pytest.raises(StatusError, match="More than 1000 arrays and objects"):
        Document(b'{"a": [' + b"[]," * 2000 + b"[]" + after + b"]}").members()
    assert len(Document(b'{"a": [' + b"[]," * 900 + b"[]]}").members()["a"]) == 901


def test_reading_ends_when_its_time_is_up() -> None:
    with pytest.raises(StatusError) as late:
        Document(b'{"a": [' + b'"",' * 2_000_000 + b"]", timeout=0.2).members()
    assert late.value.code is Code.DEADLINE_EXCEEDED

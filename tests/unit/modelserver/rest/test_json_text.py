"""How JSON values are quoted in errors; the texts are RapidJSON's PrettyWriter's."""

import pytest

from infra.modelserver.rest.json_text import LONGEST_QUOTE, quote
from infra.modelserver.rest.parser import Document


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.5, "1.5"),
        (3.0, "3.0"),
        (0.1, "0.1"),
        (1 / 3, "0.333333343"),
        (1e10, "1e+10"),
        (1e300, "1e+300"),
        (1.2345678901234567e300, "1.2345678901234567e+300"),
        (float("nan"), "NaN"),
        (float("-inf"), "-Infinity"),
        (-0.0, "-0.0"),
        (3_000_000_000, "3000000000"),
        (True, "true"),
        (None, "null"),
        ('a"b\\c/\x1f\té', '"a\\"b\\\\c/\\u001F\\té"'),
        ([], "[]"),
        ({}, "{}"),
        ([[1, 2.0], []], "[[1, 2.0], []]"),
        ({"a": [1.0], "b": {"c": None}}, '{\n    "a": [1.0],\n    "b": {\n        "c": null\n    }\n}'),
        ([{"a": 1}, 2], '[{\n        "a": 1\n    }, 2]'),
    ],
)
def test_a_value_is_quoted_as_rapidjson_prints_it(value: object, text: str) -> None:
    assert quote(value) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        ("0.1", "0.1"),
        ("1.0", "1.0"),
        ("123456789012345678", "123456789012345678"),
        ("5e-324", "5e-324"),
        # RapidJSON prints 0.00001, 100000000000000000000.0, 1e22 and 0.30000000000000007.
        ("1e-5", "1e-05"),
        ("1e20", "1e+20"),
        ("1e22", "1e+22"),
        ("0.30000000000000004", "0.30000000000000004"),
    ],
)
def test_a_number_inside_a_list_is_printed_as_python_prints_it(number: str, text: str) -> None:
    document = Document(b'{"x": [%s]}' % number.encode()).members()
    assert quote(document) == f'{{\n    "x": [{text}]\n}}'


def test_a_text_breaks_off_before_a_nan() -> None:
    assert quote({"a": [1, float("nan"), 2], "b": 3}) == '{\n    "a": [1, '


def test_repeated_keys_are_all_quoted() -> None:
    assert quote(Document(b'{"a": 1, "a": 2}').members()) == '{\n    "a": 1,\n    "a": 2\n}'


def test_the_deepest_document_is_quoted_without_running_out_of_stack() -> None:
    document = Document(b'{"x": ' + b"[" * 9_000 + b"]" * 9_000 + b"}").members()
    assert quote(document).count("[") == 9_000


@pytest.mark.parametrize("value", ["x" * 5_000_000, ["x" * 5_000_000], [1] * 1_000_000, {"x" * 5_000_000: 1}])
def test_a_long_value_is_cut_short(value: object) -> None:
    assert LONGEST_QUOTE <= len(quote(value)) < LONGEST_QUOTE + 10

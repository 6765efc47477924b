"""Replies, to the letter."""

import json
import math
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from infra.modelserver.errors import Code, StatusError, not_found
from infra.modelserver.lifecycle.states import State, VersionStatus
from infra.modelserver.rest import encode
from infra.modelserver.runtime.servable import Signature, TensorInfo
from tasks.wire.dtypes import data_type_of
from tasks.wire.protos import ClassificationResult, RegressionResult


def reply(outputs: Mapping[str, Any], *, row_format: bool = True) -> bytes:
    infos = {}
    for alias, array in outputs.items():
        infos[alias] = TensorInfo(f"{alias}:0", array.dtype, data_type_of(array.dtype), None)
    return encode.predictions(Signature("s", "m", {}, infos), outputs, row_format=row_format)


def f32(*values: Any) -> Any:
    return np.array(values, np.float32)


def strings(*values: bytes) -> Any:
    array = np.empty(len(values), object)
    array[:] = values
    return array


# In rows


def test_one_output_stands_in_rows_by_itself() -> None:
    assert reply({"y": f32(3.5, 4, 5.5)}) == b'{\n    "predictions": [3.5, 4.0, 5.5\n    ]\n}'
    assert reply({"y": f32([1, 2], [3, 4])}) == b'{\n    "predictions": [[1.0, 2.0], [3.0, 4.0]\n    ]\n}'


def test_several_outputs_stand_in_objects() -> None:
    assert reply({"a": f32(1, 2), "b": np.array([[1], [2]])}) == (
        b'{\n    "predictions": [\n        {\n            "a": 1.0,\n            "b": [1]\n        },\n'
        b'        {\n            "a": 2.0,\n            "b": [2]\n        }\n    ]\n}'
    )


def test_an_empty_batch_has_no_rows() -> None:
    assert reply({"y": f32()}) == b'{\n    "predictions": []\n}'
    assert reply({"a": f32(), "b": np.zeros((0, 3), np.float32)}) == b'{\n    "predictions": []\n}'
    assert reply({"y": np.zeros((2, 0), np.float32)}) == b'{\n    "predictions": [[], []\n    ]\n}'


def test_an_output_without_a_batch_dimension_has_no_rows_to_stand_in() -> None:
    with pytest.raises(StatusError, match=r"Tensor name: total has no shape information $"):
        reply({"total": np.float32(6.5).reshape(())})


def test_outputs_in_rows_must_agree_on_their_number() -> None:
    with pytest.raises(StatusError, match="Tensor name: b has inconsistent batch size: 1 expecting: 2"):
        reply({"a": f32(1, 2), "b": f32(1)})


# In columns


def test_one_output_stands_in_columns_by_itself() -> None:
    assert reply({"y": f32([1, 2], [3, 4])}, row_format=False) == (
        b'{\n    "outputs": [\n        [\n            1.0,\n            2.0\n        ],\n'
        b"        [\n            3.0,\n            4.0\n        ]\n    ]\n}"
    )
    assert reply({"y": np.float32(4.5).reshape(())}, row_format=False) == b'{\n    "outputs": 4.5\n}'
    assert reply({"y": np.zeros((1, 0))}, row_format=False) == b'{\n    "outputs": [\n        []\n    ]\n}'


def test_several_outputs_stand_in_columns_under_their_names() -> None:
    assert reply({"a": f32(1), "b": np.array([True, False])}, row_format=False) == (
        b'{\n    "outputs": {\n        "a": [\n            1.0\n        ],\n'
        b'        "b": [\n            true,\n            false\n        ]\n    }\n}'
    )


# Values


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (9000000, "9e+06"),
        (999999, "999999.0"),
        (1234567, "1234567.0"),
        (0.0003, "0.0003"),
        (0.00003, "3e-05"),
        (555557.5, "555557.5"),
        (0.1, "0.1"),
        (1 / 3, "0.333333343"),
        (-0.0, "-0.0"),
        (3.4028234e38, "3.40282347e+38"),
        (1e-45, "1.4013e-45"),
        (math.nan, "NaN"),
        (math.inf, "Infinity"),
        (-math.inf, "-Infinity"),
    ],
)
def test_a_float32_has_six_digits_or_nine(value: float, text: str) -> None:
    assert reply({"y": f32(value)}, row_format=False).decode() == f'{{\n    "outputs": [\n        {text}\n    ]\n}}'


@pytest.mark.parametrize(
    ("value", "text"),
    [(1 / 3, "0.33333333333333331"), (0.1, "0.1"), (1e300, "1e+300"), (123456789.0, "123456789.0"), (2.0, "2.0")],
)
def test_a_float64_has_six_digits_or_seventeen(value: float, text: str) -> None:
    assert reply({"y": np.array(value)}, row_format=False).decode() == f'{{\n    "outputs": {text}\n}}'


@given(arrays.arrays(np.float32, st.integers(1, 40), elements=st.floats(width=32)))
def test_every_float32_is_printed_by_the_rule_and_comes_back(array: Any) -> None:
    back = np.array(json.loads(reply({"y": array}))["predictions"])
    np.testing.assert_array_equal(back.astype(np.float32), array)
    tokens = reply({"y": array}).decode().split("[")[1].split("\n")[0].split(", ")
    for token, value in zip(tokens, array.tolist(), strict=True):
        six = f"{value:.6g}"
        shortest = six if np.float32(six) == np.float32(value) else f"{value:.9g}"
        if math.isfinite(value):
            assert token.removesuffix(".0") == shortest


@given(arrays.arrays(np.float64, st.integers(1, 40), elements=st.floats(allow_nan=False)))
def test_every_float64_comes_back(array: Any) -> None:
    np.testing.assert_array_equal(np.array(json.loads(reply({"y": array}))["predictions"], np.float64), array)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.bool_])
@pytest.mark.parametrize("shape", [(20000,), (200, 101), (2, 100, 101)])
def test_large_replies_hold_the_same_numbers(dtype: Any, shape: tuple[int, ...]) -> None:
    array = (np.random.default_rng(1).random(shape) * 4).astype(dtype)
    if array.dtype.kind == "f":
        array.ravel()[[0, 7, -1]] = [np.nan, np.inf, -np.inf]
    other = np.arange(shape[0])
    for row_format, key in ((True, "predictions"), (False, "outputs")):
        back = np.array(json.loads(reply({"y": array}, row_format=row_format))[key], dtype)
        np.testing.assert_array_equal(back, array)
    rows = json.loads(reply({"y": array, "z": other}))["predictions"]
    np.testing.assert_array_equal(np.array([row["y"] for row in rows], dtype), array)
    assert [row["z"] for row in rows] == other.tolist()


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint32, np.uint64])
def test_integers_are_printed_as_they_are(dtype: Any) -> None:
    limits = np.iinfo(dtype)
    assert json.loads(reply({"y": np.array([limits.min, 0, limits.max], dtype)})) == {
        "predictions": [int(limits.min), 0, int(limits.max)]
    }


@pytest.mark.parametrize(
    ("dtype", "name"),
    [(np.float16, "half"), (ml_dtypes.bfloat16, "bfloat16"), (np.complex64, "complex64")],
)
def test_types_that_json_has_no_form_for_are_refused(dtype: Any, name: str) -> None:
    with pytest.raises(StatusError) as raised:
        reply({"y": np.zeros(2, dtype)})
    assert raised.value.code is Code.INVALID_ARGUMENT
    assert raised.value.message == f"Failed to write JSON value for tensor type: {name}"


def test_strings_are_given_as_the_bytes_they_are() -> None:
    assert reply({"y": strings(b'a"\x01/', "é".encode(), b"\xff")}) == (
        b'{\n    "predictions": ["a\\"\\u0001/", "\xc3\xa9", "\xff"\n    ]\n}'
    )


def test_outputs_whose_name_ends_in_bytes_are_base64() -> None:
    assert reply({"y_bytes": strings(b"hello")}) == (
        b'{\n    "predictions": [{\n            "b64": "aGVsbG8="\n        }\n    ]\n}'
    )
    assert reply({"y_bytes": strings(b"\xff")}, row_format=False) == (
        b'{\n    "outputs": [\n        {\n            "b64": "/w=="\n        }\n    ]\n}'
    )
    assert json.loads(reply({"n": np.array([1]), "y_bytes": strings(b"\xff")})) == {
        "predictions": [{"n": 1, "y_bytes": {"b64": "/w=="}}]
    }
    assert reply({"y_bytes": f32(1)}) == b'{\n    "predictions": [1.0\n    ]\n}'


# Everything else


def test_classes_are_pairs_of_label_and_score() -> None:
    result = ClassificationResult()
    result.classifications.add().classes.add(label='a"', score=0.5)
    result.classifications[0].classes.add(score=1 / 3)
    result.classifications.add()
    assert encode.classifications(result) == (b'{\n    "results": [[["a\\"", 0.5], ["", 0.333333343]], []\n    ]\n}')
    with pytest.raises(StatusError, match="Cannot convert empty ClassificationResults to JSON"):
        encode.classifications(ClassificationResult())


def test_regressions_are_numbers() -> None:
    result = RegressionResult()
    for value in (0.5, 3):
        result.regressions.add(value=value)
    assert encode.regressions(result) == b'{\n    "results": [0.5, 3.0]\n}'
    with pytest.raises(StatusError, match="Cannot convert empty RegressionResults to JSON"):
        encode.regressions(RegressionResult())


def test_an_error_is_an_object_with_its_text() -> None:
    assert encode.error(not_found('no "x"\n\udcff')) == b'{\n    "error": "no \\"x\\"\\n\xff"\n}'


def test_status_prints_defaults_too() -> None:
    text = encode.status(
        [VersionStatus(3, State.AVAILABLE, Code.OK, ""), VersionStatus(1, State.END, Code.NOT_FOUND, "gone")]
    )
    assert json.loads(text) == {
        "model_version_status": [
            {"version": "3", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}},
            {"version": "1", "state": "END", "status": {"error_code": "NOT_FOUND", "error_message": "gone"}},
        ]
    }
    assert text.startswith(b'{\n "model_version_status": [\n  {\n   "version": "3",\n')

import base64
import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from tasks.errors import Corrupt, InvalidInput
from tasks.savedmodel.golden import (
    GoldenExample,
    compare,
    json_size,
    prediction_log,
    read_golden,
    records_of,
    without_answer,
    write_golden,
)
from tasks.wire.tfrecord import to_bytes

EXAMPLE = GoldenExample(
    signature="classify",
    inputs={"inputs": np.ones((2, 3), np.float32), "name": np.array([b"a\0", "é".encode()], object)},
    outputs={"class": np.array([1, 2]), "score": np.array([0.5, np.nan], np.float32)},
)


def test_golden_examples_come_back(tmp_path: Path) -> None:
    write_golden(tmp_path / "golden", [EXAMPLE, EXAMPLE])
    first, second = read_golden(tmp_path / "golden")
    assert first.signature == second.signature == "classify"
    assert not compare(EXAMPLE.inputs, first.inputs)
    assert not compare(EXAMPLE.outputs, first.outputs)


def test_the_same_examples_are_the_same_bytes(tmp_path: Path) -> None:
    inputs, outputs = ({name: part[name] for name in [*part][::-1]} for part in (EXAMPLE.inputs, EXAMPLE.outputs))
    turned = GoldenExample("classify", inputs, outputs)
    write_golden(tmp_path / "a", [EXAMPLE])
    write_golden(tmp_path / "b", [turned])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_golden_examples_with_a_flipped_bit_are_refused(tmp_path: Path) -> None:
    write_golden(tmp_path / "golden", [EXAMPLE, EXAMPLE])
    damaged = bytearray((tmp_path / "golden").read_bytes())
    damaged[-10] ^= 1
    (tmp_path / "golden").write_bytes(damaged)
    at = 16 + len(next(records_of(tmp_path / "golden")))
    with pytest.raises(Corrupt, match=f"was changed: the record at byte {at} fails its checksum"):
        read_golden(tmp_path / "golden")


@pytest.mark.parametrize("kept", [5, 12, 20, -1])
def test_golden_examples_that_were_cut_off_are_refused(tmp_path: Path, kept: int) -> None:
    write_golden(tmp_path / "golden", [EXAMPLE])
    (tmp_path / "golden").write_bytes((tmp_path / "golden").read_bytes()[:kept])
    with pytest.raises(Corrupt, match="is cut off: the record at byte 0 is not whole"):
        read_golden(tmp_path / "golden")


def test_values_that_tensorflow_has_no_type_for_are_the_callers_mistake() -> None:
    with pytest.raises(InvalidInput, match="datetime64"):
        prediction_log("classify", {"when": np.array(["2026-11-22"], "datetime64[D]")})


def test_other_files_are_no_golden_examples(tmp_path: Path) -> None:
    write_golden(tmp_path / "golden", [EXAMPLE])
    (record,) = records_of(tmp_path / "golden")
    (tmp_path / "cut").write_bytes(to_bytes([record[:-9]]))
    with pytest.raises(Corrupt, match="holds no golden examples"):
        read_golden(tmp_path / "cut")
    (tmp_path / "text").write_text("a text that is longer than a header")
    with pytest.raises(Corrupt, match="is not a TFRecord file"):
        read_golden(tmp_path / "text")


def f32(*values: float) -> dict[str, np.ndarray]:
    return {"y": np.array(values, np.float32)}


ALIKE = {
    "equal": (f32(1, 2), f32(1, 2)),
    "within the tolerance": (f32(0, 1000), f32(9e-6, 1000.009)),
    "NaN and Infinity": (f32(np.nan, np.inf, -np.inf), f32(np.nan, np.inf, -np.inf)),
    "texts and bytes": ({"y": np.array(["é"])}, {"y": np.array(["é".encode()], object)}),
    "half precision, a step apart": (
        {"y": np.array([1.0], np.float16)},
        {"y": np.array([1.001], np.float16)},
    ),
    "bfloat16": ({"y": np.array([1.0], ml_dtypes.bfloat16)}, {"y": np.array([1.0], ml_dtypes.bfloat16)}),
    "complex": ({"y": np.array([1 + 2j])}, {"y": np.array([1 + 2.000001j])}),
    "four bits": ({"y": np.array([3], ml_dtypes.int4)}, {"y": np.array([3], ml_dtypes.int4)}),
    "no value": (f32(), f32()),
    "a scalar": ({"y": np.array(1.0)}, {"y": np.array(1.0)}),
}

UNLIKE = {
    "a value": (
        f32(1, 2, 3),
        f32(1, 2.5, 3.1),
        r"2 of 3 values by more than 1e-05, most at \[1\]: 2.5, expected 2 \(0.5",
    ),
    "beyond the tolerance": (f32(0, 1000), f32(2e-5, 1000), r"1 of 2 values .* most at \[0\]: 2e-05, expected 0"),
    "NaN": (f32(1), f32(np.nan), r"most at \[0\]: nan, expected 1 \(inf away\)"),
    "a number for NaN": (f32(np.nan), f32(1), "1, expected nan"),
    "Infinity": (f32(np.inf), f32(-np.inf), "-inf, expected inf"),
    "Infinity for a number": (f32(3e38), f32(np.inf), "inf, expected 3e"),
    "dtype": (f32(1), {"y": np.array([1.0])}, "'y' has dtype float64, expected float32"),
    "texts for numbers": (f32(1), {"y": np.array([b"1"], object)}, "dtype string, expected float32"),
    "shape": (f32(1, 2), f32(1), r"'y' has shape \[1\], expected \[2\]"),
    "whole numbers": (
        {"y": np.array([[1, 2]])},
        {"y": np.array([[1, 3]])},
        r"1 of 2 values, first at \[0, 1\]: 3, expected 2",
    ),
    "large whole numbers": ({"y": np.array([2**62])}, {"y": np.array([2**62 + 1])}, f"expected {2**62}"),
    "texts": ({"y": np.array(["a"])}, {"y": np.array(["b"])}, r"first at \[0\]: b'b', expected b'a'"),
    "a scalar": ({"y": np.array(1)}, {"y": np.array(2)}, r"first at \[\]: 2, expected 1"),
    "bfloat16": (
        {"y": np.array([1.0], ml_dtypes.bfloat16)},
        {"y": np.array([1.1], ml_dtypes.bfloat16)},
        "by more than 0.016",
    ),
    "four bits": ({"y": np.array([3], ml_dtypes.int4)}, {"y": np.array([4], ml_dtypes.int4)}, "4, expected 3"),
    "missing": (f32(1), {}, "output 'y' is missing, there is only none at all"),
    "too much": ({}, f32(1), "output 'y' was not expected, only none at all"),
}


@pytest.mark.parametrize(("expected", "got"), ALIKE.values(), ids=ALIKE)
def test_equal_answers_do_not_differ(expected: dict[str, np.ndarray], got: dict[str, np.ndarray]) -> None:
    assert compare(expected, got) == []


@pytest.mark.parametrize(("expected", "got", "difference"), UNLIKE.values(), ids=UNLIKE)
def test_a_difference_is_told(expected: dict[str, np.ndarray], got: dict[str, np.ndarray], difference: str) -> None:
    (found,) = compare(expected, got)
    with pytest.raises(AssertionError, match=difference):
        raise AssertionError(found)


def test_the_tolerance_can_be_chosen() -> None:
    assert not compare(f32(1), f32(1.05), tolerance=0.1)
    assert compare(f32(1), f32(1.001), tolerance=1e-4)


def test_nan_is_no_answer_unless_it_was_asked_for() -> None:
    text = {"name": np.array([b"nan"], object)}
    assert without_answer(text, f32(1, np.nan)) == "output 'y' holds NaN"
    assert (
        without_answer({}, {"a": np.array([1]), "b": np.array([np.nan], ml_dtypes.bfloat16)}) == "output 'b' holds NaN"
    )
    assert without_answer(f32(1), f32(np.inf)) is None
    assert without_answer(f32(1), text) is None
    assert without_answer(f32(1, np.nan), f32(1, np.nan)) is None


def test_of_some_outputs_only_shape_and_dtype_may_be_compared() -> None:
    expected, got = {"y": np.array([1.0]), "s": np.array([1.0])}, {"y": np.array([1.0]), "s": np.array([7.0])}
    assert compare(expected, got, shape_only=["s"]) == []
    assert len(compare(expected, got, shape_only=["y"])) == 1
    assert "has shape" in compare(expected, {**got, "s": np.array(7.0)}, shape_only=["s"])[0]
    assert "has dtype" in compare(expected, {**got, "s": np.array([7])}, shape_only=["s"])[0]


@pytest.mark.parametrize(
    "array",
    [
        np.random.default_rng(0).random((50, 40)).astype(np.float32),
        np.arange(10_000),
        np.ones((3, 5), bool),
        np.array([b"text", b"longer text"], object),
    ],
)
def test_the_length_of_a_rest_body_is_known_beforehand(array: np.ndarray) -> None:
    body = [{"b64": base64.b64encode(v).decode()} for v in array] if array.dtype == object else array.tolist()
    assert json_size(array) == pytest.approx(len(json.dumps(body)), rel=0.4)


def test_what_has_no_length_in_json_is_as_long_as_it_is_in_memory() -> None:
    assert json_size(np.ones(3, np.complex64)) == 24
    assert json_size(np.ones((0, 4), np.float32)) == 0

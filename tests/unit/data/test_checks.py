import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tasks.data.checks import check
from tasks.data.dataset import split
from tasks.data.examples import Loaded
from tasks.errors import InvalidData
from tasks.wire.dtypes import Array
from tests.unit.data.cases import images, numbers


def with_one(array: Array, value: Any, *at: int) -> Array:
    changed = array.copy()
    changed[at] = value
    return changed


GOOD = numbers(100)
WORDS = GOOD.labels["y"]
FLOATS = np.arange(100) / 3
IMAGES = images(dtype="float32")

BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no features": ({"features": {}}, "has no features: expected at least one array"),
    "no labels": ({"labels": {}}, "has no labels"),
    "no rows": ({"features": {"x": FLOATS[:0]}, "labels": {"y": FLOATS[:0]}}, "has 0 rows"),
    "a shorter feature": ({"features": {"a": FLOATS, "b": FLOATS[:99]}}, "'a' has 100 rows and 'b' has 99, expected"),
    "a shorter label": ({"labels": {"y": WORDS[:99]}}, "'x' has 100 rows and 'y' has 99"),
    "a single number": ({"features": {"x": FLOATS, "b": np.array(1)}}, "'b' has none, expected as many"),
    "equal rows": ({"features": {"x": FLOATS * 0}}, "all 100 rows are equal"),
    "Infinity": ({"features": {"x": with_one(FLOATS, np.inf, 7)}}, "'x' is infinite in 1 row, the first is row 7 (co"),
    "NaN in images": (
        {"features": {"x": with_one(IMAGES, np.nan, 3, 4, 5, 0)}},
        "'x' is NaN in 1 row, the first is row 3 at [4, 5, 0] (counted from 0); expected a number everywhere",
    ),
    "dates": ({"features": {"x": FLOATS.astype("datetime64[D]")}}, "'x' holds dates, which no model takes"),
    "NaN in labels": (
        {"labels": {"y": with_one(FLOATS, np.nan, 7)}},
        "label 'y' is missing or infinite in 1 row, the f",
    ),
    "Infinity in labels": ({"labels": {"y": with_one(FLOATS, -np.inf, 7)}}, "is missing or infinite in 1 row"),
    "an empty label": (
        {"labels": {"y": with_one(WORDS, "", 7)}},
        "label 'y' is missing or infinite in 1 row, the first",
    ),
    "NaN in one of two labels": (
        {"labels": {"a": FLOATS, "b": with_one(np.ones((100, 2)), np.nan, 7, 1)}},
        "label 'b' is missing or infinite in 1 row, the first is row 7 at [1]",
    ),
    "dates as labels": ({"labels": {"y": FLOATS.astype("datetime64[D]")}}, "label 'y' holds dates"),
    "one label": (
        {"labels": {"y": np.full(100, "odd")}},
        "is odd in every row",
    ),
    "one number": ({"labels": {"y": FLOATS * 0 + 3}}, "label 'y' is 3.0 in every row, expected at least two"),
    "a class with one example": (
        {"labels": {"y": with_one(WORDS, "new", 7)}},
        "label 'y' has classes with a single example, 1 of 3: 'new'. Expected several of each",
    ),
    "a number of a class with one example": ({"labels": {"y": with_one(np.arange(100) % 3, 9, 7)}}, "1 of 4: 9. Exp"),
    "every row its own class": ({"labels": {"y": np.arange(100).astype(str)}}, "100 of 100: '0', '1', "),
    "weights as texts": ({"weights": WORDS}, "the weights have dtype <U4, expected numbers"),
    "a negative weight": (
        {"weights": with_one(FLOATS, -1, 7)},
        "a weight is negative or not finite in 1 row, the first is row 7",
    ),
    "weights of two axes": ({"weights": np.ones((100, 2))}, "weights has shape [100, 2], expected [N]"),
    "two ways to split": ({"group": WORDS, "time": FLOATS}, "gives group and time, expected at most one way"),
    "times as texts": ({"time": WORDS}, "the time has dtype <U4, expected numbers or dates"),
    "no time in a row": ({"time": with_one(FLOATS, np.nan, 7)}, "the time is missing in some rows"),
    "no date in a row": ({"time": np.array(["2026-01-01", "NaT"] * 50, "datetime64[D]")}, "the time is missing in"),
    "another part": ({"split": np.array(["train", "dev"] * 50)}, "split is dev in 50 rows, the first is row 1"),
    "numbers of parts": ({"split": np.arange(100) % 3}, "split is 0 in 100 rows, the first is row 0"),
}


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD)
def test_data_that_cannot_be_trained_on_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidData, match=re.escape(message)):
        split("d", replace(GOOD, **change), 0)


TAKEN: dict[str, dict[str, Any]] = {
    "whole numbers of any range": {"labels": {"y": np.arange(100) % 3 * 1000 - 5}},
    "whole numbers that are no classes": {"labels": {"y": np.arange(100)}},
    "yes and no": {"labels": {"y": np.arange(100) % 2 == 0}},
    "floats": {"labels": {"y": FLOATS}},
    "flags": {"labels": {"y": np.arange(300).reshape(100, 3) % 2}},
    "classes of one column": {"labels": {"y": WORDS.reshape(100, 1)}},
    "several labels": {"labels": {"a": WORDS, "b": FLOATS}},
    "images": {"features": {"x": images()}},
    "images without a channel": {"features": {"x": images()[..., 0]}},
    "texts": {"features": {"x": np.arange(100).astype(str)}},
    "floats beyond 1": {"features": {"x": FLOATS * 1e6 - 7}},
}


@pytest.mark.parametrize("change", TAKEN.values(), ids=TAKEN)
def test_other_forms_are_taken_as_they_are(change: dict[str, Any]) -> None:
    given = replace(GOOD, **change)
    parts = split("d", given, 0)
    for name, array in given.features.items():
        found = np.concatenate([part.features[name] for part in (parts.train, parts.validation, parts.test)])
        assert found.dtype == array.dtype
        assert sorted(found.reshape(100, -1).tolist()) == sorted(array.reshape(100, -1).tolist())
    for name, array in given.labels.items():
        found = np.concatenate([part.labels[name] for part in (parts.train, parts.validation, parts.test)])
        assert found.dtype == array.dtype
        assert sorted(found.tolist()) == sorted(array.tolist())


def test_missing_numbers_of_a_table_are_taken_and_named(caplog: pytest.LogCaptureFixture) -> None:
    check(replace(GOOD, features={"size": with_one(FLOATS, np.nan, 7), "x": FLOATS}), "houses")
    assert "houses: 'size' is missing (NaN) in 1 row, the first is row 7" in caplog.text


def test_labels_that_are_classes_are_told_from_numbers() -> None:
    from tasks.data.checks import classes_of

    assert classes_of(np.arange(100)) is None
    assert classes_of(FLOATS) is None
    assert classes_of(np.zeros((100, 2), int)) is None
    found = classes_of(np.array([[3], [5]] * 50))
    assert found is not None
    assert [part.tolist() for part in found] == [[3, 5], [50, 50]]


def test_a_row_has_everything_of_its_example() -> None:
    given = Loaded({"a": FLOATS, "b": np.arange(100).astype(str)}, {"y": np.arange(100)}, weights=FLOATS)
    parts = split("d", given, 0)
    for part in (parts.train, parts.validation, parts.test):
        assert part.features["b"].astype(int).tolist() == part.labels["y"].tolist()
        assert part.weights is not None
        assert part.features["a"].tolist() == part.weights.tolist() == (part.labels["y"] / 3).tolist()

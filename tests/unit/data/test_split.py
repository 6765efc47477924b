import logging
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tasks.data.dataset import split
from tasks.data.examples import Examples, Loaded
from tasks.data.hashing import row_shares
from tasks.data.sources import load_dataset, read_source
from tasks.errors import InvalidData
from tasks.wire.dtypes import Array
from tests.unit.data.cases import images, labels, numbers


def rows(part: Examples) -> set[bytes]:
    """Each row's features, as something that can be in a set."""
    return {b"|".join(array[at].tobytes() for array in part.features.values()) for at in range(len(part))}


def test_the_default_digits_are_real_and_as_they_were_stored() -> None:
    digits = load_dataset("mnist-5k", split_seed=0)
    parts = [digits.train, digits.validation, digits.test]
    assert sum(map(len, parts)) == 5000
    for part, share in zip(parts, (0.7, 0.1, 0.2), strict=True):
        assert len(part) / 5000 == pytest.approx(share, abs=0.015)
        x, y = part.features["x"], part.labels["y"]
        assert x.shape == (len(y), 28, 28, 1)
        assert (x.dtype, y.dtype) == (np.uint8, np.int64)
        assert (x.min(), x.max()) == (0, 255)
        assert (np.bincount(y, minlength=10) / len(y)).tolist() == pytest.approx([0.1] * 10, abs=0.05)


def test_the_parts_are_all_rows_and_have_none_in_common() -> None:
    parts = split("d", numbers(1000), 0)
    found = [rows(part) for part in (parts.train, parts.validation, parts.test)]
    assert sum(map(len, found)) == len(set.union(*found)) == 1000


def test_what_was_held_out_of_4500_and_500_more_examples_was_never_learnt_before() -> None:
    digits = read_source("mnist-5k")
    shuffled = np.random.default_rng(0).permutation(5000)
    before = split("digits", first_rows(digits, shuffled[:4500]), 0)
    after = split("digits", first_rows(digits, shuffled), 0)
    assert len(rows(after.test) & (rows(before.train) | rows(before.validation))) == 0
    assert rows(before.train) <= rows(after.train)
    assert rows(before.test) < rows(after.test)


def first_rows(loaded: Loaded, which: Array) -> Loaded:
    found = loaded.rows(which)
    return Loaded(found.features, found.labels)


def test_equal_rows_are_in_one_part_whatever_their_labels() -> None:
    once = numbers(100)
    twice = split(
        "d",
        Loaded(
            {"x": np.concatenate([once.features["x"]] * 2)}, {"y": np.concatenate([once.labels["y"], once.labels["y"]])}
        ),
        0,
    )
    parts = [twice.train, twice.validation, twice.test]
    assert sum(len(rows(part)) for part in parts) == 100
    assert [len(part) for part in parts] == [2 * len(rows(part)) for part in parts]


def test_the_same_seed_splits_alike_and_another_does_not() -> None:
    first, again, other = (split("d", numbers(), seed) for seed in (0, 0, 1))
    assert rows(first.test) == rows(again.test) != rows(other.test)
    assert first.sha256 == again.sha256 == other.sha256


ALIKE: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "a column that has become float": ({"a": np.arange(20)}, {"a": np.arange(20).astype("float64")}),
    "a column of smaller numbers": ({"a": np.arange(20, dtype="int8")}, {"a": np.arange(20)}),
    "the other byte order": ({"a": np.eye(20, dtype="<f4")}, {"a": np.eye(20, dtype=">f4")}),
    "minus zero": ({"a": np.array([0.0, 1.0])}, {"a": np.array([-0.0, 1.0])}),
    "a longer text elsewhere": ({"a": np.array(["a", "bc"])}, {"a": np.array(["a", "bc", "longer"])[:2]}),
    "texts as objects": ({"a": np.array(["a", "é"])}, {"a": np.array(["a", "é"], object)}),
    "a longer list elsewhere": ({"a": np.array([[1, 2], [3, 0]])}, {"a": np.array([[1, 2, 0, 0], [3, 0, 0, 0]])}),
    "a longer list of texts": ({"a": np.array([["a"], ["b"]])}, {"a": np.array([["a", ""], ["b", ""]])}),
    "another order of columns": (
        {"a": np.arange(9), "b": np.array(["t"] * 9)},
        {"b": np.array(["t"] * 9), "a": np.arange(9)},
    ),
}


@pytest.mark.parametrize(("one", "other"), ALIKE.values(), ids=ALIKE)
def test_a_row_is_the_same_however_the_rows_beside_it_have_it_stored(one: Any, other: Any) -> None:
    assert row_shares(one, 3).tolist() == row_shares(other, 3).tolist()


@pytest.mark.parametrize(
    "features",
    [
        {"a": np.arange(5000), "b": np.zeros((5000, 2))},
        {"a": np.zeros(5000), "b": np.arange(5000).astype(str)},
        {"a": np.stack([np.zeros(5000), np.arange(5000)], 1)},
        {"a": np.array([str(n).encode() + b"\xff" for n in range(5000)], object)},
        {"a": np.arange(5000).astype("datetime64[D]")},
    ],
    ids=["numbers", "texts", "lists", "bytes", "dates"],
)
def test_different_rows_are_spread_evenly(features: dict[str, Array]) -> None:
    shares = row_shares(features, 0)
    assert len(set(shares)) == 5000
    assert np.quantile(shares, [0, 0.2, 0.5, 1]).tolist() == pytest.approx([0, 0.2, 0.5, 1], abs=0.02)


def test_rows_of_one_group_are_in_one_part_when_more_of_them_come() -> None:
    group = np.arange(1000) // 10
    before = split("d", numbers(900, group=group[:900]), 0)
    after = split("d", numbers(1000, group=group), 0)
    for parts in (before, after):
        found = [set((part.features["x"] * 7).round().astype(int) // 10) for part in (parts.train, parts.test)]
        assert not found[0] & found[1]
    assert not rows(after.test) & rows(before.train)


@pytest.mark.parametrize("start", [0, np.datetime64("2026-01-01")])
def test_by_time_the_newest_rows_are_held_out(start: Any) -> None:
    shuffled = np.random.default_rng(0).permutation(1000)
    parts = split("d", numbers(1000, time=start + shuffled), 0)
    found = [
        shuffled[(part.features["x"] * 7).round().astype(int)] for part in (parts.train, parts.validation, parts.test)
    ]
    assert [(int(f.min()), int(f.max())) for f in found] == [(0, 699), (700, 799), (800, 999)]


def test_rows_of_one_time_are_in_one_part() -> None:
    parts = split("d", numbers(100, time=np.repeat(np.arange(10), 10)), 0)
    assert [len(part) for part in (parts.train, parts.validation, parts.test)] == [70, 10, 20]
    uneven = split("d", numbers(100, time=np.repeat(np.arange(4), [60, 15, 10, 15])), 0)
    assert [len(part) for part in (uneven.train, uneven.validation, uneven.test)] == [60, 15, 25]


def test_sorted_data_are_shuffled_alike_each_time() -> None:
    given = Loaded({"x": np.arange(1000) / 7}, {"y": np.arange(1000.0)})
    first, again = split("d", given, 0).train.labels["y"], split("d", given, 0).train.labels["y"]
    assert first.tolist() == again.tolist()
    assert abs(np.corrcoef(first, np.arange(len(first)))[0, 1]) < 0.1


def test_a_split_of_ones_own_is_kept() -> None:
    sides = np.array(["train", "validation", "test", "train"] * 25)
    parts = split("d", numbers(100, split=sides), 0)
    assert [len(part) for part in (parts.train, parts.validation, parts.test)] == [50, 25, 25]
    assert rows(parts.test) == rows(numbers(100).rows(sides == "test"))


def test_a_split_without_a_validation_part_gets_one_from_what_would_be_trained_on() -> None:
    sides = np.repeat(["train", "test"], [900, 100])
    parts = split("d", numbers(1000, split=sides), 0)
    assert rows(parts.test) == rows(numbers(1000).rows(sides == "test"))
    assert len(parts.validation) / 900 == pytest.approx(0.1, abs=0.03)
    assert not rows(parts.train) & rows(parts.validation)


def test_weights_go_with_their_rows() -> None:
    given = numbers(100, weights=np.arange(100) / 7)
    for part in (split("d", given, 0).train, split("d", given, 0).test):
        assert part.weights is not None
        assert part.weights.tolist() == part.features["x"].tolist()


def test_everything_that_was_given_counts_in_the_hash() -> None:
    plain = numbers(100)
    changed = images()
    changed[99, 27, 27, 0] ^= 1
    every = [
        Loaded({"x": images()}, {"y": labels()}),
        Loaded({"x": changed}, {"y": labels()}),
        Loaded({"x": images()}, {"y": labels()[::-1]}),
        Loaded({"x": images()}, {"y": labels().astype(np.int32)}),
        Loaded({"z": images()}, {"y": labels()}),
        plain,
        replace(plain, weights=np.ones(100)),
        replace(plain, group=np.arange(100)),
        replace(plain, time=np.arange(100)),
    ]
    hashes = [split("d", loaded, 0).sha256 for loaded in every]
    assert len(set(hashes)) == len(hashes)
    assert [split("other", loaded, 1).sha256 for loaded in every] == hashes


def test_texts_of_any_length_count_in_the_hash() -> None:
    def of(last: str) -> str:
        texts = np.empty(100, object)
        texts[:] = [f"text {n}" for n in range(99)] + [last]
        return split("d", replace(numbers(100), features={"x": texts}), 0).sha256

    assert of("a" * 1000) == of("a" * 1000) != of("a" * 999 + "b")


EMPTY: dict[str, tuple[Loaded, str]] = {
    "few rows": (
        Loaded({"x": np.arange(100, 104)}, {"y": np.arange(4.0)}),
        "its 4 rows are [0-4] train, 0 validation, [0-4] test, expected some in each part, "
        "by split seed 0: add rows, or choose",
    ),
    "few groups": (numbers(100, group=np.arange(100) % 2), "of its 2 groups, by split seed 0"),
    "one time": (numbers(100, time=np.zeros(100)), "0 train, 0 validation, 100 test, .* by time: add rows of other"),
    "no test": (numbers(100, split=np.array(["train"] * 100)), "0 test, .* by a split of its own: correct it"),
    "a class that is only held out": (
        numbers(100, split=np.array(["train", "test"] * 50)),
        "class 'odd' of label 'y' has 50 rows and none of them in the training part by a split of its own",
    ),
}


@pytest.mark.parametrize(("loaded", "message"), EMPTY.values(), ids=EMPTY)
def test_a_part_that_would_be_empty_or_miss_a_class_is_refused(loaded: Loaded, message: str) -> None:
    with pytest.raises(InvalidData, match=message):
        split("d", loaded, 0)


def test_thirty_rows_are_enough() -> None:
    parts = split("few", numbers(30), 0)
    assert [len(part) for part in (parts.train, parts.validation, parts.test)] == [24, 3, 3]


def test_a_class_without_a_held_out_row_is_named(caplog: pytest.LogCaptureFixture) -> None:
    sides = np.array((["train", "train", "test", "train"]) * 25)
    with caplog.at_level(logging.WARNING):
        split("d", numbers(100, split=sides), 0)
    assert "class 'odd' of label 'y' has no held-out row" in caplog.text

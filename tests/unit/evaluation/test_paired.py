"""Whether one model is better than another on the same rows."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tasks.evaluation.metrics import Figure, evaluate
from tasks.evaluation.paired import Difference, compared, judged, resampled, right_or_wrong, rows_needed
from tasks.policy import MetricRule
from tasks.records import ScoredOutput
from tasks.wire.dtypes import Array

HIGHER, LOWER = MetricRule("higher", 0.02), MetricRule("lower", 5.0)
COUNTS = st.integers(0, 60)
ENDS = st.floats(-100, 100)


def answers(both: int, won: int, lost: int, neither: int) -> tuple[Array, Array]:
    """Whether the new and the live model are right, for so many rows of each sort."""
    new = np.repeat([True, True, False, False], [both, won, lost, neither])
    live = np.repeat([True, False, True, False], [both, won, lost, neither])
    return new, live


@given(COUNTS, COUNTS, COUNTS, COUNTS)
def test_the_interval_excludes_nought_just_where_mcnemars_exact_test_does(b: int, w: int, lo: int, n: int) -> None:
    if not b + w + lo + n:
        return
    found = right_or_wrong(*answers(b, w, lo, n))
    assert found.low is not None
    assert found.high is not None
    assert found.low - 1e-9 <= found.new - found.live <= found.high + 1e-9
    p = stats.binomtest(w, w + lo).pvalue if w + lo else 1.0
    assert ((found.low > 0) or (found.high < 0)) == (p < 0.05)


@given(COUNTS, COUNTS, COUNTS, st.integers(1, 60))
def test_two_models_that_change_places_change_sides(b: int, w: int, lo: int, n: int) -> None:
    new, live = answers(b, w, lo, n)
    there, back = right_or_wrong(new, live), right_or_wrong(live, new)
    assert (there.low, there.high) == (pytest.approx(-(back.high or 0)), pytest.approx(-(back.low or 0)))


@given(st.lists(ENDS, min_size=3, max_size=3), st.floats(0, 50))
def test_a_verdict_follows_the_rule_and_is_the_same_in_either_direction(ends: list[float], tolerance: float) -> None:
    low, gain, high = sorted(ends)
    found = Difference(gain, 0.0, low, high, 100)
    verdict = judged(found, MetricRule("higher", tolerance))
    assert verdict == judged(Difference(-gain, 0.0, -high, -low, 100), MetricRule("lower", tolerance))
    assert (verdict == "better") == (low > 0)
    if verdict == "worse":
        assert gain < -tolerance
        assert high < 0
    if verdict == "not worse":
        assert low >= -tolerance - 1e-9
    if verdict == "cannot tell":
        needed = rows_needed(found, MetricRule("higher", tolerance))
        assert needed is None or needed > found.n


@given(st.floats(-0.1, 0.1), st.floats(0.001, 0.5), st.integers(10, 1000), st.floats(0, 0.05))
def test_with_the_rows_that_it_would_take_one_can_tell(gain: float, half: float, n: int, tolerance: float) -> None:
    rule = MetricRule("higher", tolerance)
    found = Difference(gain, 0.0, gain - half, gain + half, n)
    needed = rows_needed(found, rule)
    if judged(found, rule) == "cannot tell" and needed is not None:
        then = half * math.sqrt(n / needed) * 0.999
        assert judged(Difference(gain, 0.0, gain - then, gain + then, needed), rule) != "cannot tell"


def test_a_handful_of_rows_cannot_tell_and_how_many_would_is_said() -> None:
    found = right_or_wrong(*answers(7, 0, 2, 1))
    assert judged(found, HIGHER) == "cannot tell"
    assert 10 < (rows_needed(found, HIGHER) or 0) < 1000
    alike = right_or_wrong(*answers(9, 0, 0, 1))
    assert (alike.low, alike.high) == (pytest.approx(-0.3085, abs=1e-4), pytest.approx(0.3085, abs=1e-4))
    assert judged(alike, HIGHER) == "cannot tell"
    assert judged(right_or_wrong(*answers(900, 0, 0, 100)), HIGHER) == "not worse"


def test_a_model_that_is_clearly_better_or_worse_is_said_to_be() -> None:
    assert judged(right_or_wrong(*answers(800, 60, 10, 130)), HIGHER) == "better"
    assert judged(right_or_wrong(*answers(800, 10, 60, 130)), HIGHER) == "worse"
    assert judged(right_or_wrong(*answers(9000, 10, 60, 930)), HIGHER) == "not worse", "worse, but within the tolerance"
    assert judged(right_or_wrong(*answers(900, 0, 15, 85)), HIGHER) == "cannot tell", "it may be worse by 2.2 points"
    few = right_or_wrong(*answers(0, 0, 1, 0))
    assert judged(few, HIGHER) == "cannot tell"


def figure(errors: Array) -> Figure:
    return Figure(np.abs(errors))


def test_errors_are_compared_row_by_row() -> None:
    random = np.random.default_rng(0)
    hard = random.exponential(40, 300)  # rows differ far more than the models do
    slightly = hard + random.normal(6, 3, 300)
    assert judged(compared(figure(slightly), figure(hard)), LOWER) == "worse"
    assert judged(compared(figure(hard), figure(slightly)), LOWER) == "better"
    assert judged(compared(figure(hard + 2), figure(hard)), LOWER) == "not worse"
    assert judged(compared(figure(slightly[:5] * [1, 0.5, 2, 1, 1]), figure(hard[:5])), LOWER) == "cannot tell"


def test_the_interval_of_a_mean_is_that_of_students_paired_test() -> None:
    random = np.random.default_rng(3)
    new, live = np.abs(random.normal(5, 2, (2, 400)))
    expected = stats.ttest_rel(new, live).confidence_interval(0.95)
    found = compared(Figure(new), Figure(live))
    assert (found.low, found.high) == (pytest.approx(expected.low, abs=0.03), pytest.approx(expected.high, abs=0.03))
    assert compared(Figure(new), Figure(live)) == found, "the same figures give the same interval"


def test_a_figure_that_is_no_mean_has_an_interval_too() -> None:
    random = np.random.default_rng(1)
    flags = random.integers(0, 2, (500, 4))
    outputs = {"y": ScoredOutput("out", "flags")}
    good, bad = (np.where(random.random((500, 4)) < wrong, 1 - flags, flags) for wrong in (0.1, 0.2))
    new, live = (evaluate({"y": flags}, {"y": said}, outputs).figures["f1"] for said in (good, bad))
    found = compared(new, live)
    assert judged(found, MetricRule("higher")) == "better"
    assert (found.low or 0) < new.value - live.value < (found.high or 0)


@pytest.mark.parametrize("n", [1, 2])
def test_one_row_has_no_interval_and_two_have_a_wide_one(n: int) -> None:
    found = compared(Figure(np.array([1.0, 2.0])[:n]), Figure(np.array([5.0, 9.0])[:n]))
    assert judged(found, LOWER) == "cannot tell"
    assert (found.low is None) is (n == 1)


def test_a_figure_that_no_resample_has_says_nothing() -> None:
    found = resampled(0.5, 0.4, np.full(100, np.nan), 50)
    assert judged(found, HIGHER) == "cannot tell"
    assert rows_needed(found, HIGHER) is None


@pytest.mark.parametrize("rows", [10, 40, 300])
def test_of_equal_models_fewer_than_one_in_twenty_is_called_worse(rows: int) -> None:
    random, trials = np.random.default_rng(rows), 200
    strict, error = MetricRule("higher"), MetricRule("lower")
    false = {"accuracy": 0, "mae": 0}
    for _ in range(trials):
        hard = random.random(rows)
        new, live = random.random((2, rows)) > hard * 0.4  # both right about a row with the same probability
        false["accuracy"] += judged(right_or_wrong(new, live), strict) == "worse"
        errors = np.abs(random.exponential(10, rows) + random.normal(0, 3, (2, rows)))
        false["mae"] += judged(compared(Figure(errors[0]), Figure(errors[1])), error) == "worse"
    assert max(false.values()) < 0.05 * trials, false

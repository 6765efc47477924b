"""Whether right answers come in time, and not much later than the live version's."""

from typing import Any

import numpy as np
import pytest

from tasks.validation.checks.base import Finding
from tasks.validation.checks.speed import Speed
from tests.helpers.policies import policy
from tests.helpers.subjects import Answering, answering, refuse, served


def measured(answer: Answering, live: Answering | None = None, **rule: Any) -> Finding:
    """What is found over gRPC."""
    rest, grpc = Speed()(served(answer, live=live and _first_over_rest(live), policy=policy(**rule)))
    assert (rest.asked["protocol"], rest.wrong) == ("REST", None)
    return grpc


def _first_over_rest(live: Answering) -> Answering:
    """The live version is asked over REST first, where it answers each of the two examples at once."""
    quick = [answering()] * 2
    return lambda inputs: (quick.pop() if quick else live)(inputs)


def test_right_answers_in_time_are_asked_for_once() -> None:
    finding = measured(answering([0.1, 0.3]))
    assert (finding.wrong, finding.figures) == (None, {"median ms": pytest.approx(200)})


def test_a_machine_that_was_busy_for_a_moment_is_not_held_against_the_version() -> None:
    assert measured(answering([5, 5, 0.1, 0.1])).wrong is None


def test_right_answers_that_always_come_too_late_are_wrong() -> None:
    late = [3, 3, 4, 4, 2, 2]
    assert measured(answering(late), speed_tries=2).wrong == (
        "its answers are right, but take 3 s; the policy's answer_budget allows 1 s"
    )
    assert measured(answering(late), answer_budget=4, speed_tries=2).wrong is None
    assert "take 4 s" in (measured(answering(late), speed_tries=1).wrong or "")


def test_right_answers_that_always_come_much_later_than_the_live_versions_are_wrong() -> None:
    finding = measured(answering([0.3] * 16), live=answering([0.002] * 14))
    assert finding.wrong == (
        "its answers are right, but take 300 ms, while the live version takes 2 ms; the policy's slowdown allows "
        "10 times as long"
    )
    assert finding.figures == {"median ms": pytest.approx(300), "live version's ms": pytest.approx(2)}


def test_a_version_is_held_against_the_live_one_pair_by_pair() -> None:
    warm = measured(answering([0.3, 0.3, 0.019, 0.019]), live=answering([0.001] * 4))
    assert (warm.wrong, warm.figures["median ms"]) == (None, pytest.approx(19)), "what was asked alone does not count"
    busy = measured(answering([0.3] * 16), live=answering([0.04] * 14))
    assert busy.wrong is None, "a machine that slows down both"


def test_where_the_machine_cannot_tell_a_version_passes_and_that_is_said() -> None:
    few = measured(answering([0.3] * 6), live=answering([0.001] * 4), speed_tries=2)
    assert (few.wrong, few.note) == (
        None,
        "its answers take 300 ms, while the live version takes 1 ms, but 4 pairs of answers are no evidence that it is "
        "slower",
    )


def test_what_is_always_fast_is_never_slow_and_alone_only_the_budget_counts() -> None:
    assert measured(answering([0.02, 0.02]), live=answering([0.0001] * 2)).wrong is None
    assert measured(answering([0.02] * 16), live=answering([0.0001] * 14), always_fast=0.01).wrong is not None
    assert measured(answering([0.9, 0.9])).wrong is None
    alone = measured(answering([0.9, 0.9]), live=refuse)
    assert (alone.wrong, alone.figures.keys()) == (None, {"median ms"})


def test_answers_that_are_wrong_are_not_called_slow_and_those_that_turn_wrong_are_told() -> None:
    assert [f.asked["protocol"] for f in Speed()(served(refuse))] == ["REST"]
    turns = [answering([5])] * 2 + [refuse]
    assert measured(lambda inputs: turns.pop(0)(inputs)).wrong == "it answered NOT_FOUND"
    assert np.isfinite(measured(answering([0.1, 0.1])).figures["median ms"])

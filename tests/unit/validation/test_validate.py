"""Whether live answers are those of the trained model, and come in time."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pytest

from tasks.errors import ServingRefused, ServingUnreachable
from tasks.savedmodel.golden import GoldenExample
from tasks.serving.client import Answer
from tasks.validation.checks import Check, check_answers
from tests.helpers.policies import POLICY

X, Y = np.array([1.0, 2.0], np.float32), np.array([2.0, 4.0], np.float32)
EXAMPLES = [GoldenExample("call", {"x": X}, {"y": Y}), GoldenExample("call", {"x": X}, {"y": Y})]

Ask = Callable[[Mapping[str, Any]], Answer]


def answering(seconds: Iterable[float], outputs: Mapping[str, Any] = {"y": Y}, version: int | None = 7) -> Ask:
    times = iter(seconds)
    return lambda inputs: Answer(outputs, version, next(times))


def checked(ask: Ask, live: Ask | None = None) -> Check:
    return check_answers("r1", "gRPC", "call", EXAMPLES, ask, 7, POLICY, ask_live=live)


def refuse(_: Mapping[str, Any]) -> Answer:
    raise ServingRefused("it answered NOT_FOUND")


def test_right_answers_in_time_are_asked_for_once() -> None:
    check = checked(answering([0.1, 0.3]))
    assert (check.wrong, check.examples, check.seconds) == (None, 4, pytest.approx(0.2))


def test_a_machine_that_was_busy_for_a_moment_is_not_held_against_the_version() -> None:
    assert checked(answering([5, 5, 0.1, 0.1])).wrong is None


def test_right_answers_that_always_come_too_late_are_wrong() -> None:
    assert checked(answering([3, 3, 2, 2, 4, 4])).wrong == (
        "its answers are right, but take 2 s; the policy's answer_budget allows 1 s"
    )


def test_a_value_another_version_and_an_error_are_wrong() -> None:
    assert "differs in 1 of 2 values" in (checked(answering([0.1], {"y": np.array([2, 5], np.float32)})).wrong or "")
    assert checked(answering([0.1], version=6)).wrong == "version 6 answered, not 7"
    assert checked(answering([0.1, 0.1], version=None)).wrong is None
    assert checked(refuse).wrong == "it answered NOT_FOUND"


def test_right_answers_that_always_come_much_later_than_the_live_versions_are_wrong() -> None:
    check = checked(answering([0.3, 0.3] * 3), live=answering([0.002, 0.002] * 3))
    assert check.wrong == (
        "its answers are right, but take 300 ms, while the live version takes 2 ms; the policy's slowdown allows "
        "10 times as long"
    )
    assert (check.seconds, check.live_seconds) == (0.3, 0.002)


def test_a_version_is_held_against_the_best_of_several_looks_at_either() -> None:
    cold = checked(answering([0.3, 0.3, 0.019, 0.019]), live=answering([0.001] * 4))
    assert (cold.wrong, cold.seconds) == (None, pytest.approx(0.019))
    both_busy = checked(answering([0.3, 0.3] * 3), live=answering([0.04] * 6))
    assert (both_busy.wrong, both_busy.live_seconds) == (None, 0.04)
    live_busy_at_first = checked(answering([0.5, 0.5] * 3), live=answering([0.04, 0.04, 0.002, 0.002, 0.04, 0.04]))
    assert "takes 2 ms" in (live_busy_at_first.wrong or "")


def test_what_takes_20_ms_is_never_slow_and_alone_only_the_budget_counts() -> None:
    assert checked(answering([0.02, 0.02]), live=answering([0.0001] * 2)).wrong is None
    assert checked(answering([0.9, 0.9])).wrong is None
    alone = checked(answering([0.9, 0.9]), live=refuse)
    assert (alone.wrong, alone.live_seconds) == (None, None)


def test_an_answer_that_is_no_number_is_wrong_even_where_it_was_promised() -> None:
    nothing = {"y": np.array([np.nan, 4], np.float32)}
    promised = [GoldenExample("call", {"x": X}, nothing)]
    check = check_answers("r1", "gRPC", "call", promised, answering([0.1], nothing), 7, POLICY)
    assert check.wrong == "output 'y' holds NaN"


def test_a_server_that_gives_no_answer_says_nothing_of_the_version() -> None:
    def silent(_: Mapping[str, Any]) -> Answer:
        raise ServingUnreachable("No model server answers.")

    with pytest.raises(ServingUnreachable):
        checked(silent)


def test_a_signature_that_takes_a_scalar_or_nothing_has_one_example() -> None:
    for inputs in ({"x": np.float32(1)}, {}):
        arrays = {name: np.asarray(value) for name, value in inputs.items()}
        examples = [GoldenExample("call", arrays, {"y": Y})]
        assert check_answers("r1", "REST", "call", examples, answering([0.1]), 7, POLICY).examples == 1

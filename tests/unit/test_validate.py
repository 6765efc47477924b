"""Whether live answers are those of the trained model, and come in time."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pytest

from tasks.errors import ServingRefused, ServingUnreachable
from tasks.golden import GoldenExample
from tasks.serving import Answer
from tasks.validate import Check, check_answers

X, Y = np.array([1.0, 2.0], np.float32), np.array([2.0, 4.0], np.float32)
EXAMPLES = [GoldenExample("call", {"x": X}, {"y": Y}), GoldenExample("call", {"x": X}, {"y": Y})]

Ask = Callable[[Mapping[str, Any]], Answer]


def answering(seconds: Iterable[float], outputs: Mapping[str, Any] = {"y": Y}, version: int | None = 7) -> Ask:
    times = iter(seconds)
    return lambda inputs: Answer(outputs, version, next(times))


def checked(ask: Ask, budget: float = 1.0) -> Check:
    return check_answers("r1", "gRPC", "call", EXAMPLES, ask, 7, budget)


def test_right_answers_in_time_are_asked_for_once() -> None:
    check = checked(answering([0.1, 0.3]))
    assert (check.wrong, check.examples, check.seconds) == (None, 4, pytest.approx(0.2))


def test_a_machine_that_was_busy_for_a_moment_is_not_held_against_the_version() -> None:
    assert checked(answering([5, 5, 0.1, 0.1])).wrong is None


def test_right_answers_that_always_come_too_late_are_wrong() -> None:
    assert checked(answering([3, 3, 2, 2, 4, 4])).wrong == (
        "its answers are right, but take 2 s; SLIPWAY_ANSWER_BUDGET allows 1 s"
    )


def test_a_value_another_version_and_an_error_are_wrong() -> None:
    def refuse(_: Mapping[str, Any]) -> Answer:
        raise ServingRefused("it answered NOT_FOUND")

    assert "differs in 1 of 2 values" in (checked(answering([0.1], {"y": np.array([2, 5], np.float32)})).wrong or "")
    assert checked(answering([0.1], version=6)).wrong == "version 6 answered, not 7"
    assert checked(answering([0.1, 0.1], version=None)).wrong is None
    assert checked(refuse).wrong == "it answered NOT_FOUND"


def test_a_server_that_gives_no_answer_says_nothing_of_the_version() -> None:
    def silent(_: Mapping[str, Any]) -> Answer:
        raise ServingUnreachable("No model server answers.")

    with pytest.raises(ServingUnreachable):
        checked(silent)


def test_a_signature_that_takes_a_scalar_or_nothing_has_one_example() -> None:
    for inputs in ({"x": np.float32(1)}, {}):
        arrays = {name: np.asarray(value) for name, value in inputs.items()}
        examples = [GoldenExample("call", arrays, {"y": Y})]
        assert check_answers("r1", "REST", "call", examples, answering([0.1]), 7, 1.0).examples == 1

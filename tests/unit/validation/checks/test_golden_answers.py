"""Whether every signature answers over both protocols as the trained model did."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from tasks.errors import ServingUnreachable
from tasks.savedmodel.golden import GoldenExample
from tasks.serving.client import Answer
from tasks.validation.checks.base import Subject
from tasks.validation.checks.golden_answers import GoldenAnswers
from tests.helpers.policies import policy
from tests.helpers.subjects import X, Y, answering, refuse, served


def wrong(subject: Subject) -> str | None:
    """What is wrong over gRPC; over REST nothing is."""
    rest, grpc = GoldenAnswers()(subject)
    assert (rest.asked["protocol"], rest.wrong, grpc.asked["protocol"]) == ("REST", None, "gRPC")
    return grpc.wrong


def test_right_answers_pass_and_the_finding_says_what_was_asked() -> None:
    for finding in GoldenAnswers()(served(answering())):
        assert (finding.wrong, finding.figures) == (None, {"examples": 4})
        assert finding.question == f"replica r1, protocol {finding.asked['protocol']}, signature call"


def test_a_value_another_version_and_an_error_are_wrong() -> None:
    assert "differs in 1 of 2 values" in (wrong(served(answering(outputs={"y": np.array([2, 5], np.float32)}))) or "")
    assert wrong(served(answering(version=6))) == "version 6 answered, not 7"
    assert wrong(served(answering(version=None))) is None
    assert wrong(served(refuse)) == "it answered NOT_FOUND"


def test_how_far_values_may_lie_apart_is_the_policys() -> None:
    near = {"y": Y + np.float32(0.001)}
    assert "by more than 1e-05" in (wrong(served(answering(outputs=near))) or "")
    assert wrong(served(answering(outputs=near), policy=policy(answer_tolerance=0.01))) is None


def test_an_answer_that_is_no_number_is_wrong_even_where_it_was_promised() -> None:
    nothing = {"y": np.array([np.nan, 4], np.float32)}
    promised = [GoldenExample("call", {"x": X}, nothing)]
    subject = served(answering(outputs=nothing), rest=answering(outputs=nothing), examples=promised)
    assert {f.wrong for f in GoldenAnswers()(subject)} == {"output 'y' holds NaN"}


def test_a_version_of_which_nothing_can_be_asked_does_not_pass() -> None:
    (finding,) = GoldenAnswers()(served(answering(), examples=[]))
    assert finding.wrong == "nothing was asked: the version has no golden examples"


def test_a_server_that_gives_no_answer_says_nothing_of_the_version() -> None:
    def silent(_: Mapping[str, Any]) -> Answer:
        raise ServingUnreachable("No model server answers.")

    with pytest.raises(ServingUnreachable):
        list(GoldenAnswers()(served(silent)))


@pytest.mark.parametrize("inputs", [{"x": np.float32(1)}, {}])
def test_a_signature_that_takes_a_scalar_or_nothing_has_one_example(inputs: Mapping[str, Any]) -> None:
    examples = [GoldenExample("call", {name: np.asarray(value) for name, value in inputs.items()}, {"y": Y})]
    assert {f.figures["examples"] for f in GoldenAnswers()(served(answering(), examples=examples))} == {1}

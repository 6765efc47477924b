"""Whether every signature answers over both protocols as the trained model did."""

import itertools
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pytest

from tasks.errors import ServingUnreachable
from tasks.policy import Policy
from tasks.records import SignatureSpec, TensorSpec
from tasks.savedmodel.golden import GoldenExample
from tasks.serving.client import Answer, Target
from tasks.validation.checks.base import Expected, Subject
from tasks.validation.checks.golden_answers import GoldenAnswers
from tests.helpers.policies import POLICY, policy
from tests.helpers.subjects import CALL, Answering, FakeServer, X, Y, answering, manifest, refuse, served


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


def of_one(spec: SignatureSpec, answer: Answering, outputs: Mapping[str, Any], rule: Policy = POLICY) -> Subject:
    """Version 7, whose one signature is this; over REST it refuses."""
    expected = Expected(manifest(7, spec=spec), rule, None, [GoldenExample("call", {"x": X}, outputs)])
    return Subject(FakeServer(refuse, answer), "r1", Target("M"), expected)


def test_a_signature_that_json_cannot_carry_is_asked_over_grpc_alone_and_that_is_noted() -> None:
    outputs = {"y": Y.astype(np.complex64)}
    subject = of_one(
        SignatureSpec(CALL.inputs, {"y": TensorSpec("complex64", None)}), answering(outputs=outputs), outputs
    )
    (finding,) = GoldenAnswers()(subject)
    assert (finding.asked["protocol"], finding.wrong) == ("gRPC", None)
    assert finding.note == "REST cannot carry output 'y' (complex64)"
    assert "(1 over gRPC alone" in (GoldenAnswers().sentence(subject.expected) or "")


def test_an_output_that_nobody_can_read_is_not_asked_for() -> None:
    asked: list[Collection[str]] = []

    class Server(FakeServer):
        def predict_grpc(self, *_: Any, outputs: Collection[str] = ()) -> Answer:
            asked.append(outputs)
            return Answer({"y": Y}, 7, 0.001)

    spec = SignatureSpec(CALL.inputs, {"v": TensorSpec("variant", ()), **CALL.outputs})
    subject = of_one(spec, refuse, {"y": Y})
    (finding,) = GoldenAnswers()(Subject(Server(refuse, refuse), "r1", Target("M"), subject.expected))
    assert (asked, finding.wrong) == ([["y"]], None)
    assert "output 'v' (variant) cannot be read" in (finding.note or "")


def drawing() -> Answering:
    """Answers with other numbers each time."""
    numbers = itertools.count(5)
    return lambda _: Answer({"y": Y + np.float32(next(numbers))}, 7, 0.001)


def test_answers_that_differ_though_the_same_was_asked_twice_come_with_what_to_do() -> None:
    rest, grpc = GoldenAnswers()(served(drawing()))
    assert (rest.wrong, rest.note) == (None, None)
    assert (grpc.wrong or "").endswith("; and answers differ though the same was asked twice")
    assert 'by a policy with the line compare."y" = "shape"' in (grpc.note or "")


def test_of_an_output_that_the_policy_names_only_shape_and_dtype_are_compared() -> None:
    rule = policy(compare={"y": "shape"})
    rest, grpc = GoldenAnswers()(served(drawing(), policy=rule))
    assert (rest.wrong, grpc.wrong) == (None, None)
    assert grpc.note == "of 'y' only shape and dtype were compared, by the policy"
    for outputs, why in (
        ({"y": Y[:1]}, "has shape"),
        ({"y": Y.astype(np.float64)}, "has dtype"),
        ({"y": Y * np.nan}, "NaN"),
    ):
        assert why in (wrong(served(answering(outputs=outputs), policy=rule)) or "")

"""Whether a version that is served is as good on held-out examples as when it was trained."""

import pytest

from tasks.serving.client import Target
from tasks.validation.checks.base import Expected
from tasks.validation.checks.held_out_score import HeldOutScore, Score
from tasks.validation.checks.registered import findings
from tasks.validation.validate import ValidationReport
from tests.helpers.policies import POLICY
from tests.helpers.subjects import CALL, answering, classifying, manifest, pricing, served

TRAINED = {"mae": 40.0, "rmse": 50.0, "r2": 0.9}


@pytest.mark.parametrize(("trained", "passes"), [(0.75, True), (0.754, True), (0.76, False), (0.5, True)])
def test_a_version_may_be_worse_than_when_trained_by_the_policys_tolerance(trained: float, passes: bool) -> None:
    (finding,) = HeldOutScore()(classifying([0, 0, 1, 2], [0, 0, 1, 1], trained))
    assert (finding.wrong is None) is passes
    assert finding.figures == {"examples": 4, "served": 0.75, "when trained": trained}
    assert finding.asked == {"signature": "classify", "figure": "accuracy"}
    assert isinstance(finding, Score)
    assert finding.classes == (("0", 2, 2), ("1", 1, 1), ("2", 0, 1))
    if not passes:
        assert finding.wrong == "held-out accuracy 0.7500 when served, 0.7600 when trained"


@pytest.mark.parametrize(("off", "passes"), [(40.0, True), (40.19, True), (40.25, False), (1.0, True)])
def test_an_error_may_be_higher_by_the_same_part_of_itself(off: float, passes: bool) -> None:
    (finding,) = HeldOutScore()(pricing([100, 200], [100 + off, 200 - off], **TRAINED))
    assert (finding.wrong is None) is passes
    if not passes:
        assert finding.wrong == "held-out mae 40.25 when served, 40 when trained"


def test_a_version_that_was_scored_by_a_measure_of_its_own_is_not_held_against_another_of_the_same_name() -> None:
    (finding,) = HeldOutScore()(pricing([100, 200], [150, 250], mae=0.1))
    assert (finding.wrong, finding.figures) == (None, {"examples": 2, "served": 50})


def test_of_a_regression_nobody_speaks_of_accuracy() -> None:
    subject = pricing([100, 200], [140, 160], **TRAINED)
    found = findings(subject)
    summary = ValidationReport("Flats", 7, Target("Flats"), tuple(found)).summary()
    assert summary.endswith("all right, held-out mae 40")
    sentence = HeldOutScore().sentence(subject.expected)
    assert sentence == "its mae on the held-out examples, which may be higher by 0.5 % than when trained"
    assert "accuracy" not in f"{found} {summary} {sentence}"


def test_a_server_that_refuses_the_examples_is_wrong() -> None:
    (finding,) = HeldOutScore()(classifying([0, 1], None))
    assert finding.wrong == "held-out examples: it answered NOT_FOUND"


def test_without_held_out_examples_nothing_is_asked() -> None:
    subject = served(answering())
    assert list(HeldOutScore()(subject)) == []
    assert HeldOutScore().sentence(subject.expected) is None


def test_of_flags_their_f1_is_held_against_that_of_the_training() -> None:
    trained = manifest(7, "call", CALL, **{"tags/f1": 0.5, "tags/accuracy": 0.9, "kind/accuracy": 0.9})
    sentence = HeldOutScore().sentence(Expected(trained, POLICY))
    assert sentence == (
        "its f1 of tags on the held-out examples, which may be lower by 0.005 and its accuracy of kind on the held-out "
        "examples, which may be lower by 0.005 than when trained"
    )

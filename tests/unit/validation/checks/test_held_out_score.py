"""Whether a version that is served is as good on held-out examples as when it was trained."""

import pytest

from tasks.validation.checks.held_out_score import HeldOutScore
from tests.helpers.subjects import answering, classifying, served


@pytest.mark.parametrize(("trained", "passes"), [(0.75, True), (0.754, True), (0.76, False), (0.5, True)])
def test_a_version_may_be_worse_than_when_trained_by_the_policys_tolerance(trained: float, passes: bool) -> None:
    (finding,) = HeldOutScore()(classifying([0, 0, 1, 2], [0, 0, 1, 1], trained))
    assert (finding.wrong is None) is passes
    assert finding.figures == {"examples": 4, "served": 0.75, "when trained": trained}
    if not passes:
        assert finding.wrong == "held-out accuracy 0.7500 when served, 0.7600 when trained"


def test_a_server_that_refuses_the_examples_is_wrong() -> None:
    (finding,) = HeldOutScore()(classifying([0, 1], None))
    assert finding.wrong == "held-out examples: it answered NOT_FOUND"


def test_without_held_out_examples_nothing_is_asked() -> None:
    subject = served(answering())
    assert list(HeldOutScore()(subject)) == []
    assert HeldOutScore().sentence(subject.expected) is None

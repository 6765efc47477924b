"""What passes the gate before publishing."""

import dataclasses

import numpy as np
import pytest

from tasks.errors import GateFailed
from tasks.evaluation.metrics import class_accuracies
from tasks.records import Comparison
from tasks.validation.gate import compare_metrics, in_words
from tests.helpers.policies import policy

LIVE = {"accuracy": 0.95, "accuracy_class_0": 0.98, "accuracy_class_7": 0.90}


def compared(forced: str | None = None, **trained: float) -> Comparison:
    rules = policy(metrics={"accuracy": {"tolerance": 0.02}, "accuracy_class": {"tolerance": 0.1}})
    found = compare_metrics({**LIVE, **trained}, LIVE, 6, rules)
    return dataclasses.replace(found, forced=forced)


def test_a_model_passes_that_is_as_good_or_worse_by_no_more_than_the_tolerances() -> None:
    assert compared().passed
    assert compared(accuracy=0.931, accuracy_class_7=0.801).passed


def test_a_model_that_is_worse_overall_does_not_pass_and_is_told_by_how_much() -> None:
    with pytest.raises(GateFailed, match=r"worse than version 6, .*: accuracy 0.9200, .* live version is 0.9500"):
        compared(accuracy=0.92).require_passed()


def test_a_model_that_has_unlearnt_one_class_does_not_pass_however_good_overall() -> None:
    comparison = compared(accuracy=0.99, accuracy_class_7=0.0)
    assert comparison.worse == ("accuracy of class 7 0.0000, that of the live version is 0.9000",)
    assert not comparison.passed


def test_a_model_that_breaks_clients_is_not_called_worse_unless_it_is() -> None:
    missing, less = "signature 'call' is missing", "accuracy 0.5000, that of the live version is 0.9500"
    with pytest.raises(
        GateFailed, match=r"model breaks clients of version 6, which serves: signature 'call' is missing\."
    ):
        Comparison({}, {}, 6, (missing,)).require_passed()
    with pytest.raises(GateFailed, match=r"breaks clients and is worse than version 6, .*is missing; accuracy 0\.5"):
        Comparison({}, {}, 6, (missing, less)).require_passed()


def test_a_class_that_only_one_of_them_has_met_and_other_metrics_do_not_count() -> None:
    comparison = compare_metrics(
        {"accuracy": 0.95, "accuracy_class_1": 0.0, "loss": 9.0},
        LIVE | {"loss": 0.1},
        6,
        policy(metrics={"accuracy": {"tolerance": 0.0}, "accuracy_class": {"tolerance": 0.0}}),
    )
    assert comparison.passed
    assert comparison.trained.keys() == {"accuracy"}


def test_a_worse_model_passes_with_a_reason_that_is_kept() -> None:
    comparison = compared("the live one leaks", accuracy=0.5)
    comparison.require_passed()
    assert comparison.worse
    assert in_words("MLP", comparison).endswith("Forced: the live one leaks")
    assert Comparison.from_json(comparison.to_json(), "here") == comparison


def test_a_comparison_is_told_with_what_was_found_and_noted() -> None:
    assert in_words("MLP", compared()) == "MLP: accuracy 0.9500, version 6 has 0.9500. Not worse than version 6."
    broken = Comparison({}, {}, 6, ("signature 'call' is missing",), ("Accuracy not compared: no examples.",))
    assert in_words("MLP", broken) == (
        "MLP: Breaks clients of version 6: signature 'call' is missing. Accuracy not compared: no examples."
    )
    assert in_words("MLP", Comparison({}, {}, None, notes=("Nothing serves.",))) == "MLP: Nothing serves."


def test_accuracies_of_classes_are_named_as_a_trainings_are() -> None:
    found = class_accuracies(np.array([0, 0, 3, -1]), np.array([0, 0, 3, 3]))
    assert found == {"accuracy": 0.75, "accuracy_class_0": 1.0, "accuracy_class_3": 0.5}

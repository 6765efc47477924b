import numpy as np
import pytest

from tasks.evaluation.metrics import evaluate

PROBABILITIES = np.array([[0.9, 0.1, 0.0], [0.6, 0.4, 0.0], [0.2, 0.8, 0.0], [0.1, 0.7, 0.2]], np.float32)
LABELS = np.array([0, 1, 1, 0])


def test_accuracy_loss_and_confusion_follow_from_the_scores() -> None:
    found = evaluate(PROBABILITIES, LABELS)
    assert found.accuracy == 0.5
    assert found.loss == pytest.approx(-np.log([0.9, 0.4, 0.8, 0.1]).mean())
    assert found.class_accuracy == {0: 0.5, 1: 0.5}
    assert found.confusion.tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 0]]


def test_metrics_are_named_and_leave_out_classes_that_do_not_occur() -> None:
    assert evaluate(PROBABILITIES, LABELS).metrics().keys() == {
        "accuracy",
        "loss",
        "accuracy_class_0",
        "accuracy_class_1",
    }


def test_logits_give_the_loss_of_their_probabilities() -> None:
    logits = np.log(np.maximum(PROBABILITIES, 1e-9)) - 5
    assert evaluate(logits, LABELS).loss == pytest.approx(evaluate(PROBABILITIES, LABELS).loss, rel=1e-5)


def test_a_certain_mistake_costs_much_but_not_infinity() -> None:
    assert 10 < evaluate(np.array([[1.0, 0.0]]), np.array([1])).loss < 100

"""How good a model is, by the kind of each label."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn

from tasks.errors import NotServable
from tasks.evaluation.metrics import Evaluation, evaluate
from tasks.records import OutputKind, ScoredOutput
from tasks.wire.dtypes import Array

PROBABILITIES = np.array([[0.9, 0.1, 0.0], [0.6, 0.4, 0.0], [0.2, 0.8, 0.0], [0.1, 0.7, 0.2]], np.float32)
LABELS = np.array([0, 1, 1, 0])


def evaluated(labels: Array, answers: Array, kind: OutputKind = "classes", *classes: str) -> Evaluation:
    return evaluate({"y": labels}, {"y": answers}, {"y": ScoredOutput("out", kind, classes)})


def test_accuracy_loss_and_confusion_follow_from_the_scores() -> None:
    found = evaluated(LABELS, PROBABILITIES)
    assert found.metrics() == {
        "accuracy": 0.5,
        "loss": pytest.approx(-np.log([0.9, 0.4, 0.8, 0.1]).mean()),
        "accuracy_class_0": 0.5,
        "accuracy_class_1": 0.5,
    }
    assert found.confusion is not None
    assert found.confusion.classes == ("0", "1", "2")
    assert found.confusion.counts.tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 0]]
    assert found.confusion.by_class == (("0", 1, 2), ("1", 1, 2))


def test_logits_give_the_loss_of_their_probabilities() -> None:
    logits = np.log(np.maximum(PROBABILITIES, 1e-9)) - 5
    expected = evaluated(LABELS, PROBABILITIES).metrics()["loss"]
    assert evaluated(LABELS, logits).metrics()["loss"] == pytest.approx(expected, rel=1e-5)


def test_a_certain_mistake_costs_much_but_not_infinity() -> None:
    assert 10 < evaluated(np.array([1]), np.array([[1.0, 0.0]])).metrics()["loss"] < 100


def test_classes_are_compared_by_name_so_that_versions_may_number_them_differently() -> None:
    labels = np.array(["cat", "dog", "dog", "emu"])
    one = evaluated(labels, np.array([0, 1, 0, 2]), "classes", "cat", "dog", "emu")
    other = evaluated(labels, np.array([2, 1, 2, 0]), "classes", "emu", "dog", "cat")
    assert (
        one.metrics()
        == other.metrics()
        == {
            "accuracy": 0.75,
            "accuracy_class_cat": 1.0,
            "accuracy_class_dog": 0.5,
            "accuracy_class_emu": 1.0,
        }
    )


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (np.array([3, 5, 3]), ("3", "5")),
        (np.array([b"no", b"yes", b"no"], object), ("no", "yes")),
        (np.array([0.0, 1.0, 0.0]), ()),
        (np.array([0.0, 1.0, 0.0]), ("0", "1")),
        (np.array([0.0, 1.0, 0.0]), ("0.0", "1.0")),
        (np.array([False, True, False]), ()),
        (np.array([[1, 0], [0, 1], [1, 0]]), ("no", "yes")),
        (np.array([["no"], ["yes"], ["no"]]), ("no", "yes")),
    ],
    ids=["integers", "bytes", "floats", "floats as numbers", "floats by name", "flags", "one hot", "a column"],
)
def test_labels_are_classes_however_they_are_given(labels: Array, classes: tuple[str, ...]) -> None:
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]])
    assert evaluated(labels, scores, "classes", *classes).metrics()["accuracy"] == pytest.approx(2 / 3)
    assert evaluated(labels, scores[:, 1:], "binary", *classes).metrics()["accuracy"] == pytest.approx(2 / 3)


def test_a_class_that_the_model_does_not_have_is_wrong_and_so_is_a_number_that_is_no_class() -> None:
    found = evaluated(np.array(["a", "new", "b"]), np.array([[0.9, 0.1]] * 2 + [[0.1, 0.9]]), "classes", "a", "b")
    assert found.metrics()["accuracy_class_new"] == 0.0
    assert found.metrics()["loss"] > 5
    assert found.confusion is not None
    assert found.confusion.classes == ("a", "b", "new")
    assert evaluated(np.array(["a", "b"]), np.array([7, -1]), "classes", "a", "b").metrics()["accuracy"] == 0


def test_one_score_is_that_of_the_second_class_as_a_probability_or_a_logit() -> None:
    labels = np.array(["no", "yes", "yes", "no"])
    probabilities = np.array([[0.1], [0.9], [0.4], [0.3]])
    logits = np.log(probabilities / (1 - probabilities))
    found = evaluated(labels, probabilities, "binary", "no", "yes").metrics()
    assert found["accuracy"] == 0.75
    assert found["loss"] == pytest.approx(-np.log([0.9, 0.9, 0.4, 0.7]).mean())
    assert evaluated(labels, logits, "binary", "no", "yes").metrics() == pytest.approx(found)


@given(st.integers(1, 3), st.integers(2, 30), st.integers(0, 99))
def test_numbers_and_flags_are_scored_as_scikit_learn_scores_them(columns: int, rows: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    true, said = random.normal(100, 5, (2, rows, columns))
    found = evaluated(true, said, "numbers").metrics()
    assert found["mae"] == pytest.approx(sklearn.mean_absolute_error(true, said))
    assert found["rmse"] == pytest.approx(np.sqrt(sklearn.mean_squared_error(true, said)))
    assert found["r2"] == pytest.approx(sklearn.r2_score(true, said))
    flags, scores = random.integers(0, 2, (rows, columns)), random.random((rows, columns))
    scored = evaluated(flags, scores, "flags").metrics()
    expected = sklearn.f1_score(flags.ravel(), scores.ravel() > 0.5, zero_division=1.0)
    assert scored == {"f1": pytest.approx(expected), "accuracy": pytest.approx((flags == (scores > 0.5)).mean())}


def test_the_figures_of_several_labels_are_told_apart_by_its_name() -> None:
    outputs = {"price": ScoredOutput("p", "numbers"), "kind?": ScoredOutput("k", "classes", ("a", "b"))}
    labels = {"price": np.array([1.0, 2.0]), "kind?": np.array(["a", "b"]), "unused": np.array([0, 0])}
    found = evaluate(labels, {"price": np.array([[1.0], [3.0]]), "kind?": np.array([0, 1])}, outputs)
    assert found.metrics().keys() == {
        *("price/mae", "price/rmse", "price/r2"),
        *("kind_/accuracy", "kind_/accuracy_class_a", "kind_/accuracy_class_b"),
    }
    assert found.confusions.keys() == {"kind?"}


def test_metrics_of_classes_with_like_names_are_apart_and_of_characters_that_mlflow_takes() -> None:
    found = evaluated(np.array(["a/b", "a?b", "größe"]), np.array([0, 1, 2]), "classes", "a/b", "a?b", "größe")
    assert list(found.metrics())[1:] == ["accuracy_class_a_b", "accuracy_class_a_b_1", "accuracy_class_größe"]


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        (np.array([1.0, np.nan, 2.0]), "NaN or infinity to 1 of 3 held-out rows"),
        (np.array([1.0, 2.0]), r"answers \[2\] to 3 rows"),
        (np.array([[1.0, 2.0]] * 3), "answers 2 numbers a row, the label has 1"),
        (np.array([b"1"] * 3, object), "answers object, which cannot be scored"),
    ],
)
def test_answers_that_cannot_be_scored_are_refused_by_the_outputs_name(answers: Array, said: str) -> None:
    with pytest.raises(NotServable, match=f"Output 'out' {said}" if "answers" in said else f"Output 'out'.*{said}"):
        evaluated(np.array([1.0, 2.0, 3.0]), answers, "numbers")

"""What an output answers, and labels as its loss takes them: told without Keras."""

from typing import Any

import numpy as np
import pytest

from tasks.errors import InvalidData
from tasks.records import ScoredOutput
from tasks.training.labels import Head, class_names, encoded, scored_output

SPARSE, ONE_HOT, BINARY, MAE = (
    "sparse_categorical_crossentropy",
    "categorical_crossentropy",
    "binary_crossentropy",
    "mean_absolute_error",
)


def head(width: int, loss: str, rank: int = 2) -> Head:
    return Head("scores", width, rank, loss)


@pytest.mark.parametrize(
    ("values", "width", "loss", "kind", "classes"),
    [
        ([0, 1, 2], 3, SPARSE, "classes", ("0", "1", "2")),
        ([0, 2], 10, SPARSE, "classes", tuple("0123456789")),  # no example of the others: they keep their numbers
        ([5, 7, 6], 3, SPARSE, "classes", ("5", "6", "7")),
        ([-1, 1], 2, SPARSE, "classes", ("-1", "1")),
        (["red", "blue"], 2, ONE_HOT, "classes", ("blue", "red")),
        (["no", "yes"], 1, BINARY, "binary", ("no", "yes")),
        ([0, 1], 1, BINARY, "binary", ("0", "1")),
        ([[0, 1, 1]], 3, BINARY, "flags", ()),
        ([[0, 1, 0]], 3, ONE_HOT, "classes", ()),
        ([1, 2], 1, MAE, "numbers", ()),
        ([0.5, 2], 1, MAE, "numbers", ()),
        ([[0.5, 2]], 2, MAE, "numbers", ()),
        (["a", "b"], 2, "", "classes", ("a", "b")),  # a loss of the user's own
        ([0.5, 2], 1, "", "numbers", ()),
        ([True, False], 1, "", "binary", ("False", "True")),
    ],
)
def test_the_loss_and_the_labels_tell_what_an_output_answers(
    values: list[Any], width: int, loss: str, kind: str, classes: tuple[str, ...]
) -> None:
    assert scored_output("kind", np.array(values), head(width, loss)) == ScoredOutput("scores", kind, classes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "width", "loss", "message"),
    [
        (["a", "b", "c"], 2, SPARSE, r"'kind' has 3 classes \(a, b, c\), and the model tells 2 apart: .*3 scores"),
        (range(100, 120), 3, SPARSE, r"'kind' has 20 classes \(100, 101, .*, …\)"),
        (["a"], 2, SPARSE, "'kind' has 1 classes"),
        (
            ["a", "b"],
            1,
            MAE,
            "'kind' holds 'a', 'b', and output 'scores' with the loss mean_absolute_error gives numbers",
        ),
        ([0, 1], 3, BINARY, r"'kind' has shape \[2\], and output 'scores' gives 3 scores"),
    ],
)
def test_labels_that_an_output_cannot_learn_are_refused(values: Any, width: int, loss: str, message: str) -> None:
    with pytest.raises(InvalidData, match=message):
        scored_output("kind", np.array(list(values)), head(width, loss))


def test_labels_are_given_to_the_loss_in_its_form() -> None:
    words, classes = np.array(["b", "a", "b"]), ("a", "b")
    sparse = encoded("kind", words, ScoredOutput("scores", "classes", classes), head(2, SPARSE))
    assert sparse.tolist() == [1, 0, 1]
    one_hot = encoded("kind", words, ScoredOutput("scores", "classes", classes), head(2, ONE_HOT))
    assert one_hot.tolist() == [[0, 1], [1, 0], [0, 1]]
    binary = encoded("kind", words, ScoredOutput("scores", "binary", classes), head(1, BINARY))
    assert binary.tolist() == [[1], [0], [1]]
    numbers = encoded("kind", np.array([3, 4]), ScoredOutput("scores", "numbers"), head(1, MAE))
    assert (numbers.dtype, numbers.tolist()) == (np.float32, [[3], [4]])
    assert encoded("kind", np.array([3, 4]), ScoredOutput("scores", "numbers"), head(1, MAE, rank=1)).shape == (2,)


def test_a_class_that_training_never_saw_is_named() -> None:
    with pytest.raises(InvalidData, match="'kind' holds c, which no example of the training part has"):
        encoded("kind", np.array(["a", "c"]), ScoredOutput("scores", "classes", ("a", "b")), head(2, SPARSE))


def test_numbers_beyond_the_models_classes_are_numbered_anew() -> None:
    assert class_names("kind", np.array([10**12, -5]), 2) == ("-5", "1000000000000")

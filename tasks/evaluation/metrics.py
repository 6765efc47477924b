"""How good a classifier is on examples that training never saw."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tasks.wire.dtypes import Array

_SMALLEST = 1e-7  # probability that the loss counts with at least, so that it stays finite


@dataclass(frozen=True)
class Evaluation:
    """Accuracy in 0..1, mean cross-entropy, and how often each true class was predicted as which."""

    accuracy: float
    loss: float
    class_accuracy: Mapping[int, float]  # of the classes that occur
    confusion: Array  # int64 [C, C], rows the true class, columns the predicted one

    def metrics(self) -> dict[str, float]:
        """By name: `accuracy`, `loss`, and `accuracy_class_7` for each class that occurs."""
        classes = {f"accuracy_class_{number}": value for number, value in self.class_accuracy.items()}
        return {"accuracy": self.accuracy, "loss": self.loss, **classes}


def evaluate(scores: Array, labels: Array) -> Evaluation:
    """Compare a classifier's scores with the true labels.

    Args:
        scores: float `[N, C]`, probabilities; logits if a row has a negative value or does not sum to 1.
        labels: int64 `[N]` in 0..C-1.
    """
    classes = scores.shape[1]
    values = scores.astype(np.float64)
    if (values < 0).any() or not np.allclose(values.sum(axis=1), 1, atol=1e-2):
        values = np.exp(values - values.max(axis=1, keepdims=True))
        values /= values.sum(axis=1, keepdims=True)
    likelihood = values[np.arange(len(labels)), labels]
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (labels, scores.argmax(axis=1)), 1)
    totals = confusion.sum(axis=1)
    return Evaluation(
        accuracy=float(np.trace(confusion) / len(labels)),
        loss=float(-np.log(np.clip(likelihood, _SMALLEST, 1)).mean()),
        class_accuracy={int(c): float(confusion[c, c] / totals[c]) for c in np.flatnonzero(totals)},
        confusion=confusion,
    )


def class_counts(predicted: Array, labels: Array) -> tuple[tuple[int, int, int], ...]:
    """For each class that occurs: its number, how many of its examples were recognised, and how many there are.

    Args:
        predicted: int64 `[N]`, any class number.
        labels: int64 `[N]`, the truth.
    """
    right, (numbers, totals) = predicted == labels, np.unique(labels, return_counts=True)
    return tuple((int(c), int(right[labels == c].sum()), int(n)) for c, n in zip(numbers, totals, strict=True))


def class_accuracies(predicted: Array, labels: Array) -> dict[str, float]:
    """`accuracy`, and `accuracy_class_7` for each class that occurs, as `Evaluation.metrics` names them.

    Args:
        predicted: int64 `[N]`, any class number.
        labels: int64 `[N]`, the truth.
    """
    classes = {f"accuracy_class_{number}": right / total for number, right, total in class_counts(predicted, labels)}
    return {"accuracy": float((predicted == labels).mean()), **classes}

"""How good a classifier is, class by class, from its confusion matrix."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class ClassScore:
    """One class of a held-out set. A share that divides by nothing is None."""

    name: str
    examples: int  # whose true class it is
    recognised: int  # of them
    recall: float | None  # share of its examples that were recognised; the accuracy of the class
    precision: float | None  # share of right ones among what was taken for it


def class_scores(counts: Array, classes: Sequence[str] = ()) -> tuple[ClassScore, ...]:
    """The score of each class.

    Args:
        counts: whole numbers `[C, C]`, rows the true class, columns the predicted one.
        classes: names of the C classes; their numbers where empty.
    """
    names = classes or list(map(str, range(len(counts))))
    right, true, predicted = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    return tuple(
        ClassScore(
            name=name,
            examples=int(true[i]),
            recognised=int(right[i]),
            recall=int(right[i]) / int(true[i]) if true[i] else None,
            precision=int(right[i]) / int(predicted[i]) if predicted[i] else None,
        )
        for i, name in enumerate(names)
    )


def named_scores(counts: Array, classes: Sequence[str] = ()) -> Mapping[str, float]:
    """The same as metrics with names: `recall/3`, `precision/3`. What divides by nothing is left out."""
    scores = class_scores(counts, classes)
    found = {f"recall/{s.name}": s.recall for s in scores} | {f"precision/{s.name}": s.precision for s in scores}
    return {name: value for name, value in found.items() if value is not None}

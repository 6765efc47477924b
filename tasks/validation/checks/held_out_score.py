"""Held-out score: served, the version is as good on examples that training never saw as when it was trained."""

from collections.abc import Iterable
from dataclasses import dataclass

from tasks.evaluation.metrics import class_counts
from tasks.validation.checks.base import Check, Expected, Finding, Subject


@dataclass(frozen=True)
class Score(Finding):
    """A finding with the classes, for its picture."""

    classes: tuple[tuple[int, int, int], ...] = ()  # number of the true class, examples answered right, examples


class HeldOutScore:
    """The share of the held-out examples that are answered right is that of the training."""

    name = "held-out accuracy"

    def sentence(self, expected: Expected) -> str | None:
        """How much lower the accuracy may be."""
        if expected.manifest.training.dataset is None:
            return None
        return (
            "its accuracy on the held-out examples, which may be lower by "
            f"{expected.policy.served_accuracy_tolerance:g} than when trained"
        )

    def __call__(self, subject: Subject) -> Iterable[Finding]:
        """One, if there are held-out examples and a signature that gives classes."""
        found = subject.classes
        if found is None:
            return
        asked, figures = {"signature": found.signature}, {"examples": float(len(found.true))}
        if found.served is None:
            yield Score(self.name, subject.replica, asked, f"held-out examples: {found.error}", figures)
            return
        served = float((found.served == found.true).mean())
        trained = subject.expected.manifest.training.metrics.get("accuracy")
        wrong = None
        if trained is not None and served < trained - subject.expected.policy.served_accuracy_tolerance:
            wrong = f"held-out accuracy {served:.4f} when served, {trained:.4f} when trained"
        figures |= {"served": served} | ({"when trained": trained} if trained is not None else {})
        counts = class_counts(found.served, found.true)
        yield Score(self.name, subject.replica, asked, wrong, figures, counts)


CHECK: Check = HeldOutScore()

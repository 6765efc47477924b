"""Held-out score: served, the version is as good on examples that training never saw as when it was trained."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tasks.evaluation.metrics import is_share, metric_in_words, value_in_words
from tasks.records import Manifest
from tasks.validation.checks.base import Check, Expected, Finding, Subject

# Of each kind of label one figure is held against that of the training. Shares of what is right may be lower by the
# policy's tolerance, errors higher by that part of themselves.
_SHARES, _ERRORS = ("accuracy", "f1"), ("mae",)


@dataclass(frozen=True)
class Score(Finding):
    """A finding with the classes, for its picture."""

    metric: str = "accuracy"
    classes: tuple[tuple[str, int, int], ...] = ()  # name of the true class, examples answered right, examples


class HeldOutScore:
    """Served, the version answers for the held-out examples as well as when it was trained."""

    name = "held-out score"

    def sentence(self, expected: Expected) -> str | None:
        """How much worse the figures may be."""
        if expected.manifest.training.dataset is None:
            return None
        tolerance = expected.policy.served_accuracy_tolerance
        figures = [
            f"its {metric_in_words(metric)} on the held-out examples, which may be "
            + (f"lower by {tolerance:g}" if is_share(metric) else f"higher by {100 * tolerance:g} %")
            for metric in _held(expected.manifest.training.metrics)
        ]
        return f"{' and '.join(figures)} than when trained" if figures else None

    def __call__(self, subject: Subject) -> Iterable[Finding]:
        """One for each label, if there are held-out examples and something of the version can be scored."""
        found = subject.score
        if found is None:
            return
        asked, rows = {"signature": found.signature}, {"examples": float(found.rows)}
        if found.evaluation is None:
            yield Score(self.name, subject.replica, asked, f"held-out examples: {found.error}", rows)
            return
        served, trained = found.evaluation.metrics(), _comparable(subject.expected.manifest, found.evaluation.metrics())
        for metric in _held(served):
            confusion = found.evaluation.confusion_of(metric)
            yield Score(
                self.name,
                subject.replica,
                {**asked, "figure": metric_in_words(metric)},
                _wrong(metric, served[metric], trained.get(metric), subject.expected),
                {**rows, "served": served[metric]} | ({"when trained": trained[metric]} if metric in trained else {}),
                metric=metric,
                classes=confusion.by_class if confusion is not None else (),
            )


def _held(metrics: Iterable[str]) -> Iterator[str]:
    """The figure of each label that is held against the training's: of flags, F1."""
    names = list(metrics)
    for name in names:
        label, slash, metric = name.rpartition("/")
        if metric in _SHARES + _ERRORS and not (metric == "accuracy" and f"{label}{slash}f1" in names):
            yield name


def _comparable(manifest: Manifest, served: Iterable[str]) -> dict[str, float]:
    """The training's figures, unless it was scored by a measure of its own: that may use the same names otherwise."""
    trained = manifest.training.metrics
    return dict(trained) if trained.keys() >= set(served) else {}


def _wrong(metric: str, served: float, trained: float | None, expected: Expected) -> str | None:
    if trained is None:
        return None
    policy = expected.policy
    if is_share(metric):
        worse = served < trained - policy.served_accuracy_tolerance
    else:
        worse = served > trained * (1 + policy.served_accuracy_tolerance) + policy.answer_tolerance
    if not worse:
        return None
    figures = (value_in_words(metric, value) for value in (served, trained))
    return f"held-out {metric_in_words(metric)} {' when served, '.join(figures)} when trained"


CHECK: Check = HeldOutScore()

"""The gate before publishing: a model that is worse than the one that serves does not pass."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from tasks.errors import GateFailed
from tasks.records import Record

log = logging.getLogger(__name__)

ACCURACY, CLASS_ACCURACY = "accuracy", "accuracy_class_"


@dataclass(frozen=True)
class Comparison(Record):
    """A trained model and the version that serves, on the same held-out examples."""

    trained: Mapping[str, float]  # `accuracy` and `accuracy_class_7`, each in 0..1
    live: Mapping[str, float]  # empty where nothing serves
    live_version: int | None
    worse: tuple[str, ...]  # what speaks against the trained model, in words
    forced: str | None  # why it passed all the same

    @property
    def passed(self) -> bool:
        """Whether the trained model may be published."""
        return not self.worse or self.forced is not None

    def require_passed(self) -> None:
        """Do nothing where the model may be published.

        Raises:
            GateFailed: says in what it is worse, and how to publish it all the same.
        """
        if not self.passed:
            raise GateFailed(
                f"The trained model is worse than version {self.live_version}, which serves: {'; '.join(self.worse)}. "
                "Nothing was published; `--force REASON` publishes it all the same."
            )


def compare_metrics(
    trained: Mapping[str, float],
    live: Mapping[str, float],
    live_version: int | None,
    *,
    tolerance: float,
    class_tolerance: float,
    forced: str | None = None,
) -> Comparison:
    """Compare two models by their accuracy, overall and of each class that both have met.

    Args:
        tolerance: how much lower the overall accuracy may be, 0..1.
        class_tolerance: how much lower that of one class may be, 0..1.
        forced: a person's reason for publishing a worse model.
    """
    worse = []
    for name in sorted(trained.keys() & live.keys()):
        allowed = tolerance if name == ACCURACY else class_tolerance if name.startswith(CLASS_ACCURACY) else None
        if allowed is not None and trained[name] < live[name] - allowed:
            what = "accuracy" if name == ACCURACY else f"accuracy of class {name.removeprefix(CLASS_ACCURACY)}"
            worse.append(f"{what} {trained[name]:.4f}, that of the live version is {live[name]:.4f}")
    return Comparison(dict(trained), dict(live), live_version, tuple(worse), forced)

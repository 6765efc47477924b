"""Labelled examples, whatever they are: features and labels by name, as they were given."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from tasks.wire.dtypes import Array


@dataclass(frozen=True, eq=False)
class Examples:
    """Rows of labelled data, unscaled: numbers keep their dtype, texts are arrays of str or bytes.

    A single array without a name of its own is the feature `x`; a single label without one is `y`.
    """

    features: Mapping[str, Array]  # each [N, …]
    labels: Mapping[str, Array]  # each [N], or [N, columns]
    weights: Array | None = None  # float [N]: how much each row counts in training
    slices: Mapping[str, Array] = field(default_factory=dict, kw_only=True)  # each [N]: these rows are scored apart

    def __len__(self) -> int:
        return len(next(iter(self.features.values())))

    def rows(self, where: Array | slice) -> "Examples":
        """These of its rows: by number, by a mask, or a slice."""
        return Examples(
            {name: array[where] for name, array in self.features.items()},
            {name: array[where] for name, array in self.labels.items()},
            None if self.weights is None else np.asarray(self.weights[where]),
            slices={name: array[where] for name, array in self.slices.items()},
        )

    def others(self) -> dict[str, Array]:
        """What was given beside features and labels, by the names of these fields."""
        return {} if self.weights is None else {"weights": self.weights}


@dataclass(frozen=True, eq=False)
class Loaded(Examples):
    """All rows of a source, and what decides which part each belongs to: at most one of the three, else its content.

    A recipe's `load` may return one, for instance `Loaded({"x": x}, {"y": y}, group=customer)`.
    """

    group: Array | None = None  # [N]: rows of one group fall into one part
    time: Array | None = None  # [N] numbers or datetime64: the newest rows are held out
    split: Array | None = None  # [N] of `train`, `validation` and `test`

    def others(self) -> dict[str, Array]:
        """As of any examples."""
        named = {"weights": self.weights, "group": self.group, "time": self.time, "split": self.split}
        return {name: array for name, array in named.items() if array is not None}

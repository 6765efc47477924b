"""Which of a file's arrays or columns are labels, which say how to split, and which are features."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from tasks.data.examples import Loaded
from tasks.errors import InvalidData
from tasks.wire.dtypes import Array

log = logging.getLogger(__name__)

# Names that are never features, and the field of `Loaded` that each becomes.
RESERVED = {"sample_weight": "weights", "split_group": "group", "split_time": "time", "split": "split"}
_NEAR = {"group": "split_group", "time": "split_time", "weight": "sample_weight", "weights": "sample_weight"}


def by_name(arrays: Mapping[str, Array], labels: Sequence[str], where: str) -> Loaded:
    """Arrays of a file as labelled data: these are labels, reserved names have their meaning, the rest are features.

    Raises:
        InvalidData: a label is not there, or no feature is.
    """
    for label in labels:
        if label not in arrays:
            raise InvalidData(
                f"{where} has nothing named {label!r} to learn, only {listed(arrays)}: `--label` names it."
            )
    features = {name: array for name, array in arrays.items() if name not in labels and name not in RESERVED}
    if not features:
        raise InvalidData(f"{where} has only {listed(arrays)}: expected at least one feature to predict from.")
    for name in features.keys() & _NEAR.keys():
        log.info("%s: %r is a feature like any other; %r would be more than that", where, name, _NEAR[name])
    named: dict[str, Any] = {
        field: arrays[name] for name, field in RESERVED.items() if name in arrays and name not in labels
    }
    return Loaded(features, {label: arrays[label] for label in labels}, **named)


def listed(names: Mapping[str, Array] | Sequence[str], most: int = 20) -> str:
    """Names as a message shows them."""
    every = [repr(name) for name in names]
    return ", ".join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")

"""Whether data can be trained on: asked of whatever source they came from, before anything is trained."""

import logging
from collections.abc import Callable

import numpy as np

from tasks.data.examples import Loaded
from tasks.data.mapped import slices
from tasks.data.named import listed
from tasks.errors import InvalidData
from tasks.wire.dtypes import Array

log = logging.getLogger(__name__)

PARTS = ("train", "validation", "test")
# Whole numbers are classes if there are at most so many different ones, and five rows or more for each; if there are
# more they may be ages, counts or prices.
_MOST_CLASSES = 20


def check(loaded: Loaded, where: str) -> None:
    """Raise unless these rows can be split and trained on; log what a reader should know.

    Raises:
        InvalidData: which array, and which row, is wrong; what was expected; what to do.
    """
    if not loaded.features or not loaded.labels:
        raise InvalidData(f"{where} has no {'labels' if loaded.features else 'features'}: expected at least one array.")
    _check_lengths(loaded, where)
    for name, array in loaded.features.items():
        _check_feature(array, name, where)
    for name, array in loaded.labels.items():
        _check_label(array, name, where)
    if loaded.weights is not None:
        _check_weights(loaded.weights, where)
    _check_sides(loaded, where)


def classes_of(label: Array) -> tuple[Array, Array] | None:
    """The classes of a label `[N]` or `[N, 1]` and how many rows each has; None if it holds numbers, not classes."""
    if label.size != len(label) or label.dtype.kind not in "UObiu":
        return None
    classes, counts = np.unique(label, return_counts=True)
    few = len(classes) <= min(_MOST_CLASSES, len(label) // 5)
    return (classes, counts) if label.dtype.kind in "UOb" or few else None


def _check_lengths(loaded: Loaded, where: str) -> None:
    others = loaded.others()
    first = next(iter(loaded.features))
    for name, array in (*loaded.features.items(), *loaded.labels.items(), *others.items()):
        if array.ndim == 0 or len(array) != len(loaded):
            raise InvalidData(
                f"{where}: {first!r} has {len(loaded)} rows and {name!r} has {len(array) if array.ndim else 'none'}, "
                "expected as many of each: one entry for each example."
            )
    if not len(loaded):
        raise InvalidData(f"{where} has 0 rows: expected examples to train on.")
    for name, array in others.items():
        if array.ndim != 1:
            raise InvalidData(f"{where}: {name} has shape {list(array.shape)}, expected [N]: one value for each row.")


def _check_feature(array: Array, name: str, where: str) -> None:
    if array.dtype.kind == "M":
        raise InvalidData(f"{where}: {name!r} holds dates, which no model takes: give numbers or texts made of them.")
    if array.dtype.kind != "f":
        return
    infinite = _places(array, np.isinf)
    if infinite:
        raise InvalidData(
            f"{where}: {name!r} is infinite {infinite}; expected finite numbers: repair or remove these rows."
        )
    missing = _places(array, np.isnan)
    if missing and array.ndim > 2:
        raise InvalidData(
            f"{where}: {name!r} is NaN {missing}; expected a number everywhere in an array of shape "
            f"{list(array.shape)}: repair or remove these rows."
        )
    if missing:
        log.warning("%s: %r is missing (NaN) %s: the model has to cope with that", where, name, missing)


def _check_label(array: Array, name: str, where: str) -> None:
    if array.dtype.kind == "M":
        raise InvalidData(f"{where}: label {name!r} holds dates: give numbers, or names of classes.")
    missing = _places(array, lambda part: ~np.isfinite(part) if part.dtype.kind == "f" else np.isin(part, [""]))
    if missing:
        raise InvalidData(
            f"{where}: label {name!r} is missing or infinite {missing}; expected one in every row: remove the "
            "rows without."
        )
    found = classes_of(array)
    if found is not None and (found[1] == 1).any():
        rare = found[0][found[1] == 1]
        raise InvalidData(
            f"{where}: label {name!r} has classes with a single example, {len(rare)} of {len(found[0])}: "
            f"{listed(rare.tolist(), 5)}. Expected several of each, some to learn from and some to be asked: add "
            "examples or leave these rows out. Numbers that are no classes have to be floats (3.0)."
        )
    if (array == array[:1]).all():
        raise InvalidData(
            f"{where}: label {name!r} is {array.ravel()[0]!s} in every row, expected at least two different values: "
            "add examples of others, or name another label."
        )


def _check_weights(weights: Array, where: str) -> None:
    if weights.dtype.kind not in "biuf":
        raise InvalidData(f"{where}: the weights have dtype {weights.dtype}, expected numbers of at least 0.")
    wrong = _places(weights, lambda part: ~(np.isfinite(part) & (part >= 0)))
    if wrong:
        raise InvalidData(f"{where}: a weight is negative or not finite {wrong}; expected numbers from 0 on.")


def _check_sides(loaded: Loaded, where: str) -> None:
    given = [name for name in ("group", "time", "split") if getattr(loaded, name) is not None]
    if len(given) > 1:
        raise InvalidData(f"{where} gives {' and '.join(given)}, expected at most one way to split the rows.")
    if loaded.time is not None and loaded.time.dtype.kind not in "iufM":
        raise InvalidData(f"{where}: the time has dtype {loaded.time.dtype}, expected numbers or dates.")
    if loaded.time is not None and (np.isnat if loaded.time.dtype.kind == "M" else np.isnan)(loaded.time).any():
        raise InvalidData(f"{where}: the time is missing in some rows: remove them, or give their time.")
    if loaded.split is not None:
        unknown = ~np.isin(loaded.split.astype(str), PARTS)
        if unknown.any():
            raise InvalidData(
                f"{where}: split is {loaded.split[unknown][0]!s} {_places(unknown, np.asarray)}; expected "
                f"{', '.join(PARTS)}. Rename it if it is a feature."
            )


def _places(array: Array, wrong: Callable[[Array], Array]) -> str:
    """Where values are wrong, in words: in how many rows, and the first; empty if none is."""
    count, first = 0, ""
    for rows in slices(array):
        found = wrong(array[rows])
        if found.any():
            at = np.argwhere(found)[0].tolist()
            first = first or f"row {rows.start + at[0]}{f' at {at[1:]}' if at[1:] else ''}"
            count += int(found.reshape(len(found), -1).any(1).sum())
    noun = "row" if count == 1 else "rows"
    return f"in {count} {noun}, the first is {first} (counted from 0)" if count else ""

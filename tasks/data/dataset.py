"""Labelled data in three parts, of which the held-out one is never learnt from."""

import itertools
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.data.checks import PARTS, check, classes_of
from tasks.data.examples import Examples, Loaded
from tasks.data.hashing import content_sha256, row_shares
from tasks.data.mapped import arranged
from tasks.errors import InvalidData
from tasks.wire.dtypes import Array

log = logging.getLogger(__name__)

TEST_SHARE = 0.2
VALIDATION_SHARE = 0.1


@dataclass(frozen=True, eq=False)
class Dataset:
    """Examples in three parts without overlap, as they were given: nothing is scaled or renumbered."""

    name: str
    train: Examples
    validation: Examples
    test: Examples  # held out: neither training nor its choices ever see it
    sha256: str  # over everything that was given
    split_seed: int


def split(name: str, loaded: Loaded, split_seed: int, folder: Path | None = None) -> Dataset:
    """`loaded`, checked, and split into about 70 % train, 10 % validation and 20 % test.

    Each row's part follows from the hash of its features, or of its group: it stays the same however many rows are
    added, and equal rows are in one part. By time, the newest 20 % are held out and the 10 % before them validate; rows
    of one time are in one part. A split of one's own is kept; if it has no validation part, one is taken from its train
    part by hash. The rows of each part are in order of time, or of their hash: shuffled, and always alike.

    Args:
        folder: for files that large arrays are kept in rather than in memory.

    Raises:
        InvalidData: says which row is wrong, or which part would be empty, and what to do.
    """
    check(loaded, name)
    shares = row_shares({"group": loaded.group} if loaded.group is not None else loaded.features, split_seed)
    if loaded.group is None and (shares == shares[0]).all():
        raise InvalidData(f"{name}: all {len(loaded)} rows are equal, expected different ones: nothing can be learnt.")
    parts = _parts(loaded, shares)
    _check_parts(loaded, parts, name, split_seed)
    order = np.argsort(shares if loaded.time is None else loaded.time, kind="stable")
    order = order[np.argsort(parts[order], kind="stable")]
    whole, ends = arranged(loaded, order, folder), np.cumsum(np.bincount(parts)).tolist()
    train, validation, test = (whole.rows(slice(*ends_of)) for ends_of in itertools.pairwise([0, *ends]))
    log.info("data %s: %d train, %d validation, %d held out", name, len(train), len(validation), len(test))
    return Dataset(name, train, validation, test, content_sha256(_everything(loaded)), split_seed)


def _parts(loaded: Loaded, shares: Array) -> Array:
    """The number of each row's part in `PARTS`, int `[N]`."""
    if loaded.time is not None:
        return _by_time(loaded.time)
    if loaded.split is None:
        return np.select([shares < TEST_SHARE, shares < TEST_SHARE + VALIDATION_SHARE], [2, 1], 0)
    parts = np.select([loaded.split == part for part in PARTS], range(len(PARTS)))
    if not (parts == 1).any():
        parts[(parts == 0) & (shares < VALIDATION_SHARE)] = 1
    return parts


def _by_time(time: Array) -> Array:
    ordered, count = np.sort(time), len(time)
    test = ordered[int(count * (1 - TEST_SHARE))]
    validation = ordered[int(count * (1 - TEST_SHARE - VALIDATION_SHARE))]
    return np.select([time >= test, time >= validation], [2, 1], 0)


def _check_parts(loaded: Loaded, parts: Array, name: str, split_seed: int) -> None:
    remedy = f"by split seed {split_seed}: add rows, or choose another split seed"
    if loaded.group is not None:
        remedy = f"of its {len(np.unique(loaded.group))} groups, {remedy}"
    elif loaded.time is not None:
        remedy = "by time: add rows of other times"
    elif loaded.split is not None:
        remedy = "by a split of its own: correct it"
    counts = np.bincount(parts, minlength=len(PARTS))
    if not counts.all():
        found = ", ".join(f"{count} {part}" for count, part in zip(counts, PARTS, strict=True))
        raise InvalidData(f"{name}: its {len(loaded)} rows are {found}, expected some in each part, {remedy}.")
    for label, array in loaded.labels.items():
        classes = classes_of(array)
        if classes is not None:
            _check_classes(array.reshape(-1), classes[0], parts, f"{name}: class %s of label {label!r}", remedy)


def _check_classes(label: Array, classes: Array, parts: Array, which: str, remedy: str) -> None:
    unknown = np.setdiff1d(classes, label[parts == 0])
    if len(unknown):
        raise InvalidData(
            f"{which % repr(str(unknown[0]))} has {(label == unknown[0]).sum()} rows and none of them in the training "
            f"part {remedy}."
        )
    for unasked in np.setdiff1d(classes, label[parts == 2]):
        log.warning("%s has no held-out row: how good a model is at it is not known", which % repr(str(unasked)))


def _everything(loaded: Loaded) -> dict[str, Array]:
    return {
        **{f"features/{name}": array for name, array in loaded.features.items()},
        **{f"labels/{name}": array for name, array in loaded.labels.items()},
        **loaded.others(),
    }

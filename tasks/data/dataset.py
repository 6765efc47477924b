"""Labelled digits: loading, checking and splitting them."""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.errors import InvalidData
from tasks.wire.dtypes import Array

log = logging.getLogger(__name__)

IMAGE_SHAPE = (28, 28, 1)
CLASSES = 10
NAMED = ("mnist-5k", "mnist")  # sources that are not paths
VALIDATION_SHARE = 0.1
TEST_SHARE = 0.2
# Then each of the three parts gets at least one example of each class.
FEWEST_PER_CLASS = 10


@dataclass(frozen=True)
class Dataset:
    """Examples float32 `[N, 28, 28, 1]` in 0..1 and labels int64 `[N]` in 0..9, in three parts without overlap."""

    name: str
    x_train: Array
    y_train: Array
    x_validation: Array
    y_validation: Array
    x_test: Array  # held out: neither training nor its choices ever see it
    y_test: Array
    sha256: str  # over the examples and labels as they were given
    split_seed: int


def split(name: str, x: Array, y: Array, split_seed: int) -> Dataset:
    """`x` `[N, 28, 28, 1]` and `y` `[N]`, checked, scaled and split into train, validation and held-out test.

    Raises:
        InvalidData: as `load_dataset` does.
    """
    check_examples(x, name)
    check_labels(y, len(x), name)
    from sklearn.model_selection import train_test_split

    labels = y.astype(np.int64)
    rest, test = train_test_split(np.arange(len(y)), test_size=TEST_SHARE, stratify=labels, random_state=split_seed)
    share = VALIDATION_SHARE / (1 - TEST_SHARE)
    train, validation = train_test_split(rest, test_size=share, stratify=labels[rest], random_state=split_seed)
    examples = scaled(x)
    log.info("data %s: %d train, %d validation, %d held out", name, len(train), len(validation), len(test))
    return Dataset(
        name=name,
        x_train=examples[train],
        y_train=labels[train],
        x_validation=examples[validation],
        y_validation=labels[validation],
        x_test=examples[test],
        y_test=labels[test],
        sha256=content_sha256({"x": x, "y": y}),
        split_seed=split_seed,
    )


def scaled(x: Array) -> Array:
    """Examples as float32 in 0..1, of the same shape: uint8 divided by 255, floats as they are."""
    if x.dtype == np.uint8:
        return x.astype(np.float32) / np.float32(255)
    return x.astype(np.float32)


def content_sha256(arrays: Mapping[str, Array]) -> str:
    """sha256 over names, dtypes, shapes and values, so the same however the arrays were stored."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        digest.update(f"{name} {little.dtype.name} {list(array.shape)}\n".encode())
        digest.update(little.tobytes())
    return digest.hexdigest()


def check_examples(x: Array, name: str) -> None:
    """Raise unless `x` can be trained on: `[N, 28, 28, 1]`, uint8 or floats in 0..1.

    Raises:
        InvalidData: wrong shape or dtype, NaN or Infinity, values out of range.
    """
    if x.ndim != 4 or x.shape[1:] != IMAGE_SHAPE or not len(x):
        raise InvalidData(
            f"{name}: x has shape {list(x.shape)}, expected [N, 28, 28, 1] with N of at least 1: "
            "one grey image of 28 x 28 pixels per example (x.reshape(-1, 28, 28, 1))."
        )
    if x.dtype == np.uint8:
        return
    if x.dtype.kind != "f":
        raise InvalidData(
            f"{name}: x has dtype {x.dtype}, expected uint8 in 0..255 or floats in 0..1: convert it, "
            "for instance x.astype('uint8')."
        )
    finite = np.isfinite(x)
    if not finite.all():
        first = np.unravel_index(int(np.argmin(finite)), x.shape)
        raise InvalidData(
            f"{name}: x holds {int((~finite).sum())} values that are NaN or infinite, the first ({x[first]}) at "
            f"{[int(i) for i in first]}; expected numbers in 0..1: remove or repair these examples."
        )
    low, high = float(x.min()), float(x.max())
    if low < 0 or high > 1:
        raise InvalidData(
            f"{name}: x has values from {low:g} to {high:g}, expected floats in 0..1: divide by 255, or store "
            "0..255 as uint8."
        )


def check_labels(y: Array, examples: int, name: str) -> None:
    """Raise unless `y` `[N]` labels that many examples and can be split.

    Raises:
        InvalidData: wrong shape, length or dtype, out of range, or a class with too few examples.
    """
    if y.ndim != 1:
        raise InvalidData(f"{name}: y has shape {list(y.shape)}, expected [N]: one class number per example.")
    if len(y) != examples:
        raise InvalidData(f"{name}: y has {len(y)} labels for {examples} examples in x, expected one label for each.")
    if y.dtype.kind not in "iu":
        raise InvalidData(
            f"{name}: y has dtype {y.dtype}, expected whole numbers in 0..{CLASSES - 1}: convert it, "
            "for instance y.astype('int64')."
        )
    outside = np.flatnonzero((y < 0) | (y >= CLASSES))
    if len(outside):
        raise InvalidData(
            f"{name}: y holds {len(outside)} labels out of range, the first ({y[outside[0]]}) at [{outside[0]}]; "
            f"expected 0..{CLASSES - 1}: remove these examples or renumber the classes."
        )
    classes, counts = np.unique(y, return_counts=True)
    fewest = int(counts.argmin())
    if counts[fewest] < FEWEST_PER_CLASS:
        raise InvalidData(
            f"{name}: class {classes[fewest]} has {counts[fewest]} examples, expected at least {FEWEST_PER_CLASS} of "
            "each class so that train, validation and test all see it: add examples or leave the class out."
        )
    if len(classes) < 2:
        raise InvalidData(f"{name}: y holds only class {classes[0]}, expected at least two: add examples of others.")


def recorded_source(source: str) -> str:
    """`source` in a form that means the same in any folder: a path made absolute."""
    return source if source in NAMED else str(Path(source).absolute())

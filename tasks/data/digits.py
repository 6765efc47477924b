"""Digits as their clients send them: floats in 0..1."""

from dataclasses import replace

import numpy as np

from tasks.data.dataset import Dataset
from tasks.data.examples import Examples, Loaded
from tasks.data.sources import read_source
from tasks.errors import InvalidData
from tasks.wire.dtypes import Array

SHAPE = (28, 28, 1)


def are_digits(examples: Examples) -> bool:
    """Whether the only feature is grey images of 28 x 28 pixels, uint8 `[N, 28, 28]` or `[N, 28, 28, 1]`."""
    (array, *others) = examples.features.values()
    return not others and array.dtype == np.uint8 and array.shape[1:] in (SHAPE, SHAPE[:2])


def scaled(pixels: Array) -> Array:
    """uint8 in 0..255 `[N, 28, 28]` or `[N, 28, 28, 1]` as float32 `[N, 28, 28, 1]` in 0..1; floats as they are."""
    floats = pixels.reshape(-1, *SHAPE).astype(np.float32)
    return floats / np.float32(255) if pixels.dtype == np.uint8 else floats


def load(source: str) -> Loaded:
    """The digits that a source names, as float32 `[N, 28, 28, 1]` in 0..1.

    Raises:
        InvalidData: they are no images of 28 x 28 pixels, or floats beyond 0..1.
    """
    found = read_source(source)
    x = found.features.get("x")
    if x is None or x.dtype.kind not in "uf" or x.shape[1:] not in (SHAPE, SHAPE[:2]):
        raise InvalidData(f"{source}: expected images x [N, 28, 28] or [N, 28, 28, 1], uint8 or floats in 0..1.")
    images = scaled(x)
    if not (images.min() >= 0 and images.max() <= 1):
        raise InvalidData(
            f"{source}: x has values from {x.min():g} to {x.max():g}, expected floats in 0..1: divide by 255, or store "
            "0..255 as uint8."
        )
    return replace(found, features={"x": images})


def scaled_digits(dataset: Dataset) -> Dataset:
    """A dataset of digits, scaled.

    Releases before recipes scaled the data of every factory so, and clients of its models send 0..1.
    """

    def of(part: Examples) -> Examples:
        return replace(part, features={name: scaled(array) for name, array in part.features.items()})

    return replace(
        dataset,
        name=f"{dataset.name}-scaled",
        train=of(dataset.train),
        validation=of(dataset.validation),
        test=of(dataset.test),
    )

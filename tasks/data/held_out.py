"""Examples that training never sees: kept in the store, and asked of versions later."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.data.dataset import Dataset, content_sha256
from tasks.data.npz import read_arrays
from tasks.errors import Corrupt, InvalidData
from tasks.files import write_atomically
from tasks.processes import temporary_folder
from tasks.records import DatasetRef
from tasks.store.base import Store
from tasks.wire.dtypes import Array


@dataclass(frozen=True)
class HeldOut:
    """The part of a dataset that training never saw: float32 `[N, 28, 28, 1]` and int64 `[N]`."""

    x: Array
    y: Array


def save_held_out(dataset: Dataset, path: Path) -> str:
    """Write what validation and the gate need later, with a hash over it, which is returned.

    The same data gives the same bytes.
    """
    about = f"{dataset.name}\n{dataset.sha256}\n{dataset.split_seed}"
    x, y, text = dataset.x_test, dataset.y_test, np.frombuffer(about.encode(), np.uint8)
    held_sha256 = content_sha256({"x": x, "y": y, "about": text})
    held = np.frombuffer(held_sha256.encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=x, y=y, about=text, held_sha256=held)
    write_atomically(path, buffer.getvalue())
    return held_sha256


def load_held_out(path: Path, held_sha256: str | None = None) -> HeldOut:
    """What `save_held_out` kept.

    Args:
        held_sha256: what it returned; None: the hash in the file is believed.

    Raises:
        Corrupt: it is cut off, changed, or something else.
    """
    try:
        arrays = read_arrays(path, ("x", "y", "about", "held_sha256"))
    except InvalidData as error:
        raise Corrupt(f"{path} holds no held-out examples: {error}") from None
    kept = arrays.pop("held_sha256").tobytes().decode(errors="replace")
    if content_sha256(arrays) != (held_sha256 or kept):
        raise Corrupt(f"{path} does not hold the examples that were written to it: it was changed; fetch it again.")
    return HeldOut(arrays["x"], arrays["y"])


def held_out_examples(store: Store, dataset: DatasetRef | None) -> HeldOut | None:
    """The examples that training never saw, or None if a version has no dataset because it was made elsewhere.

    Raises:
        NotFound, Corrupt: they are not in the store, or were changed.
    """
    if dataset is None:
        return None
    with temporary_folder("data") as folder:
        path = folder / "held-out.npz"
        store.download(dataset.held_out, path)
        return load_held_out(path, dataset.held_out_sha256)

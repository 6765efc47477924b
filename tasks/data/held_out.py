"""Examples that training never sees: kept in the store, and asked of versions later."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tasks.data.dataset import Dataset
from tasks.data.examples import Examples
from tasks.data.hashing import as_bytes, content_sha256
from tasks.data.npz import read_arrays
from tasks.errors import Corrupt, InvalidData
from tasks.processes import temporary_folder
from tasks.records import DatasetRef
from tasks.store.base import Store
from tasks.wire.dtypes import Array

_ENDS = "#ends"  # beside an array of long texts: where each ends among the bytes of all


def save_held_out(dataset: Dataset, path: Path) -> str:
    """Write what validation and the gate need later, with a hash over it, which is returned.

    The same data gives the same bytes.
    """
    test, about = dataset.test, f"{dataset.name}\n{dataset.sha256}\n{dataset.split_seed}"
    arrays: dict[str, Array] = {"about": np.frombuffer(about.encode(), np.uint8)}
    for name, array in test.features.items():
        arrays |= _stored(f"features/{name}", array)
    for name, array in test.labels.items():
        arrays |= _stored(f"labels/{name}", array)
    if test.weights is not None:
        arrays["weights"] = test.weights
    held_sha256 = content_sha256(arrays)
    arrays["held_sha256"] = np.frombuffer(held_sha256.encode(), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:  # a piece at a time: it may be larger than memory
        np.savez_compressed(file, allow_pickle=False, **dict(sorted(arrays.items())))
    return held_sha256


def load_held_out(path: Path, held_sha256: str | None = None) -> Examples:
    """What `save_held_out` kept, this release's or an earlier one's, which knew only `x` and `y`.

    Args:
        held_sha256: what it returned; None: the hash in the file is believed.

    Raises:
        Corrupt: it is cut off, changed, or something else.
    """
    try:
        arrays = read_arrays(path)
    except InvalidData as error:
        raise Corrupt(f"{path} holds no held-out examples: {error}") from None
    if not {"about", "held_sha256"} <= arrays.keys():
        raise Corrupt(f"{path} holds no held-out examples, only {', '.join(arrays)}: fetch it again.")
    kept = arrays.pop("held_sha256").tobytes().decode(errors="replace")
    if content_sha256(arrays) != (held_sha256 or kept):
        raise Corrupt(f"{path} does not hold the examples that were written to it: it was changed; fetch it again.")
    if "x" in arrays:
        return Examples({"x": arrays["x"]}, {"y": arrays["y"]})
    return Examples(_below("features/", arrays), _below("labels/", arrays), arrays.get("weights"))


def held_out_examples(store: Store, dataset: DatasetRef | None) -> Examples | None:
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


def _stored(name: str, array: Array) -> dict[str, Array]:
    """An array under its name; one of long texts or bytes as the bytes of all, and where each ends."""
    if array.dtype.kind != "O":
        return {name: array}
    values = [as_bytes(value) for value in array.ravel()]
    kind = "text" if all(isinstance(value, str) for value in array.ravel()) else "bytes"
    ends = np.cumsum([len(value) for value in values], dtype=np.int64).reshape(array.shape)
    return {f"{name}#{kind}": np.frombuffer(b"".join(values), np.uint8), f"{name}{_ENDS}": ends}


def _below(prefix: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    found = {}
    for name, array in arrays.items():
        bare, _, kind = name.removeprefix(prefix).rpartition("#")
        if not name.startswith(prefix) or name.endswith(_ENDS):
            continue
        if kind in ("text", "bytes") and f"{prefix}{bare}{_ENDS}" in arrays:
            ends = arrays[f"{prefix}{bare}{_ENDS}"]
            found[bare] = _unpacked(array.tobytes(), ends, kind == "text")
        else:
            found[name.removeprefix(prefix)] = array
    return found


def _unpacked(data: bytes, ends: Array, text: bool) -> Array:
    found = np.empty(ends.size, object)
    starts = [0, *ends.ravel().tolist()]
    for at, end in enumerate(starts[1:]):
        value = data[starts[at] : end]
        found[at] = value.decode() if text else value
    return found.reshape(ends.shape)

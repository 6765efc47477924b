"""Hashes of data: of the whole, which names a snapshot, and of each row, which decides where the row belongs."""

import hashlib
from collections.abc import Iterator, Mapping

import numpy as np

from tasks.data.mapped import slices
from tasks.wire.dtypes import Array


def content_sha256(arrays: Mapping[str, Array]) -> str:
    """sha256 over names, dtypes, shapes and values, so the same however the arrays were stored."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.name} {list(array.shape)}\n".encode())
        for rows in slices(array):
            digest.update(_little(array[rows]))
    return digest.hexdigest()


def row_shares(arrays: Mapping[str, Array], seed: int) -> Array:
    """A number in 0..1 for each row, float64 `[N]`: evenly spread, and always the same for the same row and seed.

    What a file's other rows are does not count: a number is the same as integer or float (a column with one missing
    value becomes float), a text whatever the longest is, and a list however far it was padded with zeros.
    """
    count = len(next(iter(arrays.values())))
    key = seed.to_bytes(8, "little", signed=True)
    return np.fromiter(
        (
            int.from_bytes(hashlib.blake2b(row, digest_size=8, key=key).digest(), "little") / 2**64
            for row in _rows(arrays)
        ),
        np.float64,
        count,
    )


def _rows(arrays: Mapping[str, Array]) -> Iterator[bytes]:
    ordered = [array for _, array in sorted(arrays.items())]
    numbers = [array for array in ordered if array.ndim == 1 and array.dtype.kind not in "UO"]
    others = [array for array in ordered if array.ndim > 1 or array.dtype.kind in "UO"]
    for rows in slices(*ordered):
        parts = [_cut(np.stack([_as_floats(array[rows]) for array in numbers], 1))] if numbers else []
        parts += [_texts(array[rows]) if array.dtype.kind in "UO" else _cut(array[rows]) for array in others]
        yield from map(b"\0".join, zip(*parts, strict=True))


def _as_floats(column: Array) -> Array:
    numbers = column.astype("<i8" if column.dtype.kind == "M" else "<f8").astype("<f8") + 0.0  # -0.0 is 0.0
    return np.where(np.isnan(numbers), np.nan, numbers)


def _cut(rows: Array) -> list[bytes]:
    """The bytes of each row `[N, …]`, without the zeros at its end."""
    data = _little(rows)
    width = len(data) // len(rows)
    return [data[at : at + width].rstrip(b"\0") for at in range(0, len(data), width)] if width else [b""] * len(rows)


def _texts(rows: Array) -> list[bytes]:
    """The texts of each row in UTF-8, without the empty ones at its end."""
    joined = ([as_bytes(value) for value in row] for row in rows.reshape(len(rows), -1).tolist())
    return [b"\0".join(row).rstrip(b"\0") for row in joined]


def _little(array: Array) -> bytes:
    if array.dtype.kind == "O":
        return b"".join(len(value).to_bytes(8, "little") + value for value in map(as_bytes, array.ravel()))
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def as_bytes(value: str | bytes) -> bytes:
    """A text in UTF-8; bytes as they are."""
    return value if isinstance(value, bytes) else value.encode()

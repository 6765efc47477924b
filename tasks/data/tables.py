"""Tables: CSV, Parquet and pandas' DataFrames, column by column as arrays."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from tasks.data.examples import Loaded
from tasks.data.mapped import PIECE, allocated, room
from tasks.data.named import RESERVED, by_name, listed
from tasks.data.plain import plain
from tasks.errors import InvalidData
from tasks.wire.dtypes import Array

_LARGEST_BLOCK = (1 << 31) - 1  # bytes that Arrow reads as one block
# From this share of numbers on, a column of texts is taken for numbers with mistakes among them.
_MOSTLY = 0.9


def read_table(path: Path, label: str | None, folder: Path | None = None) -> Loaded:
    """A `.csv` with a line of names, or a `.parquet`.

    Args:
        label: the column that is learnt, or several with commas between them.
        folder: for files that the columns of a large `.parquet` are kept in rather than in memory.

    Raises:
        InvalidData: it cannot be read, has no such column, or a column is neither of numbers nor of texts.
    """
    try:
        if path.suffix.lower() == ".parquet":
            return _read_parquet(path, label, folder)
        table = _read_csv(path)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InvalidData(f"{path} cannot be read ({_reason(error)}): repair it, or write it again.") from None
    labels = _labels(table.column_names, label, str(path))
    return by_name(columns(table, str(path)), labels, str(path))


def _labels(names: list[str], label: str | None, where: str) -> list[str]:
    """The names of the columns that are learnt, of a table that has these.

    Raises:
        InvalidData: none is named, or the table's names are not names.
    """
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InvalidData(f"{where} has two columns named {twice[0]!r}: expected names of their own.")
    if "" in names:
        raise InvalidData(
            f"{where}: column {names.index('')} has no name: name it, or leave it out (pandas: to_csv(index=False))."
        )
    if not label:
        raise InvalidData(
            f"{where} has {listed(names)}: say which column is to be learnt, `--label NAME`, or several, "
            "with commas between them."
        )
    return [name.strip() for name in label.split(",")]


def columns(table: pa.Table, where: str) -> dict[str, Array]:
    """Each column of a table as an array `[N]`, or `[N, longest]` if it holds lists; shorter ones end in 0 or "".

    Missing numbers are NaN, missing texts "". Dates are texts, except in `split_time`.
    """
    return {name: _array(table[name], name, where) for name in table.column_names}


def _read_parquet(path: Path, label: str | None, folder: Path | None) -> Loaded:
    """Twice, a piece at a time: first for the dtypes and the longest lists, then for the values."""
    with pyarrow.parquet.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False) as file:
        labels, about = _labels(file.schema_arrow.names, label, str(path)), file.metadata
        size = sum(about.row_group(number).total_byte_size for number in range(about.num_row_groups))
        rows = max(1, PIECE * about.num_rows // max(size, 1))

        def pieces() -> Iterator[dict[str, Array]]:
            for batch in file.iter_batches(rows):
                yield columns(pa.Table.from_batches([batch]), str(path))

        empty = columns(file.schema_arrow.empty_table(), str(path))
        dtypes = {name: array.dtype for name, array in empty.items()}
        shapes = {name: array.shape[1:] for name, array in empty.items()}
        for piece in pieces():
            for name, array in piece.items():
                dtypes[name] = np.result_type(dtypes[name], array.dtype)
                shapes[name] = max(shapes[name], array.shape[1:])
        width = sum(dtypes[name].itemsize * math.prod(shapes[name]) for name in dtypes)
        folder = room(folder, about.num_rows * width)
        found = {name: allocated(folder, (about.num_rows, *shapes[name]), dtypes[name]) for name in dtypes}
        start = 0
        for piece in pieces():
            for name, array in piece.items():
                found[name][(slice(start, start + len(array)), *map(slice, array.shape[1:]))] = array
            start += len(next(iter(piece.values())))
        return by_name(found, labels, str(path))


def _read_csv(path: Path) -> pa.Table:
    # In one block: Arrow decides what a column is by the first, and takes a fraction further down for an error.
    block = min(path.stat().st_size + 1, _LARGEST_BLOCK)
    try:
        table = pyarrow.csv.read_csv(path, pyarrow.csv.ReadOptions(block_size=block))
    except pa.ArrowInvalid:  # says which row it is only if one thread reads them all
        table = pyarrow.csv.read_csv(path, pyarrow.csv.ReadOptions(block_size=block, use_threads=False))
    for name, column in zip(table.column_names, table.columns, strict=True):
        _check_texts(column, name, path)
    return table


def _check_texts(column: pa.ChunkedArray, name: str, path: Path) -> None:
    """Raise if a CSV's column is not UTF-8, or of numbers with a text among them."""
    if pa.types.is_binary(column.type):
        raise InvalidData(f"{path}: column {name!r} holds text that is not UTF-8: save the file in that encoding.")
    if not pa.types.is_string(column.type):
        return
    number = pc.match_substring_regex(column, r"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$")
    empty = pc.equal(column, "")
    numbers, texts = pc.sum(number).as_py() or 0, pc.invert(pc.or_(number, empty))
    if numbers >= _MOSTLY * (numbers + (pc.sum(texts).as_py() or 0)) > 0:
        row = pc.index(texts, True).as_py()
        raise InvalidData(
            f"{path}: column {name!r} has numbers in {numbers} rows, but {column[row].as_py()!r} in row {row} (the "
            "first is 0): correct it or leave it empty, which means missing. Parquet has columns of texts that look "
            "like numbers."
        )


def _array(column: pa.ChunkedArray, name: str, where: str) -> Array:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if _is_list(kind):
        return _padded(column, name, where)
    if pa.types.is_temporal(kind):
        if name in RESERVED and not pa.types.is_time(kind):
            return np.asarray(column.cast(pa.timestamp("us")).to_numpy())
        column, kind = column.cast(pa.string()), pa.string()
    if pa.types.is_null(kind) or pa.types.is_decimal(kind) or (column.null_count and not _is_text(kind)):
        column, kind = column.cast(pa.float64(), safe=False), pa.float64()
    if _is_text(kind):
        return plain(column.to_numpy(), name, where)
    if not (pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise InvalidData(
            f"{where}: column {name!r} holds {kind}, expected numbers, texts or lists of them: make columns of it, or "
            "leave it out."
        )
    return np.asarray(column.to_numpy())


def _padded(column: pa.ChunkedArray, name: str, where: str) -> Array:
    """Lists `[N]` as `[N, longest]`."""
    lists = column.combine_chunks()
    if _is_list(lists.type.value_type):
        raise InvalidData(
            f"{where}: column {name!r} holds lists of lists, expected lists of numbers or texts: store them flat, or "
            "as arrays in an .npz."
        )
    lengths = np.asarray(pc.fill_null(pc.list_value_length(lists), 0))
    values = _array(pa.chunked_array([pc.list_flatten(lists)]), name, where)
    found = np.full((len(lists), lengths.max(initial=0)), "" if values.dtype.kind in "UO" else 0, values.dtype)
    found[np.arange(found.shape[1]) < lengths[:, None]] = values
    return found


def _is_list(kind: Any) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _is_text(kind: Any) -> bool:
    return any(is_it(kind) for is_it in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)) or any(
        is_it(kind) for is_it in (pa.types.is_binary, pa.types.is_large_binary)
    )


def _reason(error: Exception) -> str:
    return str(error).split("\n")[0].rstrip(".")[:300]

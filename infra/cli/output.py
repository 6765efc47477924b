"""Printing results: tables for people, JSON for programs."""

import dataclasses
import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any


def print_json(value: Any) -> None:
    """Print a record, or anything made of records, lists and mappings, as JSON."""
    print(json.dumps(value, indent=2, default=_plain))


def print_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under a header, in columns as wide as their widest cell; None is an empty cell."""
    cells = [list(header), *([("" if cell is None else str(cell)) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def size_text(size: int) -> str:
    """The size of a file or download in bytes, for people."""
    return f"{size / 1e6:.1f} MB"


def megabytes(size: int | None) -> str | None:
    """A use of memory or disk in bytes, for people; None stays None."""
    return None if size is None else f"{size / 1e6:.0f} MB"


def duration(seconds: int | None) -> str | None:
    """A time in seconds, for people: in its two largest units."""
    if seconds is None:
        return None
    for size, unit, smaller, small in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= size:
            return f"{seconds // size} {unit} {seconds % size // smaller} {small}"
    return f"{seconds} s"


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Path | Exception):
        return str(value)
    return value.to_dict() if hasattr(value, "to_dict") else str(value)

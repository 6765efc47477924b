"""Printing results: pages for people, JSON for programs."""

import dataclasses
import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tasks.reports.page import Page


def print_json(value: Any) -> None:
    """Print a record, or anything made of records, lists and mappings, as JSON."""
    print(json.dumps(value, indent=2, default=_plain))


def print_page(page: "Page") -> None:
    """Print a report for people."""
    from tasks.reports import terminal

    terminal.show(page)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Path | Exception):
        return str(value)
    return value.to_dict() if hasattr(value, "to_dict") else str(value)

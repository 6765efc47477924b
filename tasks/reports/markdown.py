"""Markdown of tables, pictures and text that comes from elsewhere."""

import base64
import html
import re
from collections.abc import Iterable, Sequence

_SPECIAL = re.compile(r"([\\`*_\[\]|#~])")


def megabytes(size: int) -> str:
    """A size in bytes as people read it."""
    return f"{size / 1e6:.1f} MB"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown; a column whose cells all begin with a digit is aligned to the right.

    Cells are Markdown: what comes from elsewhere goes through `text` first.
    """
    body = list(rows)
    numbers = [bool(body) and all(row[i][:1].isdigit() for row in body) for i in range(len(head))]
    lines = [head, ["--:" if number else ":--" for number in numbers], *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def text(value: object) -> str:
    """`value` as Markdown on one line that shows it literally, whatever characters it holds."""
    return _SPECIAL.sub(r"\\\1", html.escape(" ".join(str(value).split()), quote=False))


def mark(right: bool) -> str:
    """The text of a cell for whether something was right."""
    return "right" if right else "**wrong**"


def picture(png: bytes, alt: str) -> str:
    """A picture in Markdown, whole: Prefect's UI shows `data:` addresses."""
    return f"![{text(alt)}](data:image/png;base64,{base64.b64encode(png).decode()})"


def artifact_key(*parts: str) -> str:
    """A key that Prefect takes: lower-case letters, digits and dashes.

    Names that differ in case or punctuation alone share a key; the reports under it say whose they are.
    """
    return "-".join(filter(None, (re.sub(r"[^a-z0-9]+", "-", part.lower()).strip("-") for part in parts)))

"""What a report says, whatever shows it: a page of paragraphs, lists, tables and pictures.

Text is literal. Renderers escape it, so that no name or reason that comes from elsewhere changes how a page looks.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

Tone = Literal["good", "bad", "plain"]


@dataclass(frozen=True)
class Marked:
    """Text that stands out, with what it means for the reader; `plain` only stands out."""

    text: str
    tone: Tone = "plain"


@dataclass(frozen=True)
class Link:
    """Text that leads to a web page."""

    text: str
    url: str


Inline = str | Marked | Link


@dataclass(frozen=True)
class Column:
    """A column of a table.

    A `number` is aligned to the right. Where there is little room only `prose` is broken into lines, between its words.
    """

    head: str
    kind: Literal["word", "number", "prose"] = "word"


@dataclass(frozen=True)
class Table:
    """Rows under a head, each with one cell for every column."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Inline, ...], ...]


@dataclass(frozen=True)
class Paragraph:
    """Parts of a text, with a space between each."""

    parts: tuple[Inline, ...]


@dataclass(frozen=True)
class Heading:
    """What the blocks after it are about."""

    text: str


@dataclass(frozen=True)
class Items:
    """A list, numbered from 1 or not."""

    items: tuple[Inline, ...]
    numbered: bool = False


@dataclass(frozen=True)
class Picture:
    """A picture, drawn only where it is shown, and what it shows in words."""

    alt: str
    draw: Callable[[], bytes]  # PNG


Block = Paragraph | Heading | Items | Table | Picture


@dataclass(frozen=True)
class Page:
    """One report."""

    title: str
    blocks: tuple[Block, ...]


def paragraph(*parts: Inline) -> Paragraph:
    """A paragraph of these parts."""
    return Paragraph(parts)


def text_of(part: Inline) -> str:
    """The text of a part on one line; what cannot be printed, such as a terminal's control codes, as an escape."""
    words = part if isinstance(part, str) else part.text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in " ".join(words.split()))


def table(columns: Sequence[Column], rows: Sequence[Sequence[Inline]]) -> Table:
    """A table of these rows."""
    return Table(tuple(columns), tuple(map(tuple, rows)))

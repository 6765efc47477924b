"""Pages in a terminal, as wide as it is: in a narrow one prose is wrapped, or each row takes lines of its own.

What does not go to a terminal is not wrapped: a row is a line for whatever reads it. Pictures are left out.
"""

import itertools
import sys
from collections.abc import Iterable, Iterator, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from tasks.reports.page import Block, Column, Heading, Inline, Items, Marked, Page, Paragraph, Table, text_of

_STYLES = {"good": "green", "bad": "bold red", "plain": "bold"}
_GAP = "  "  # between columns
_LONG = 24  # characters: a longer word of prose, such as a path, may be broken
_READABLE = 32  # characters: where a table's last column, of prose, would be narrower, it goes beneath the others
_ENDLESS = 1_000_000  # characters in a line that is not wrapped


def show(page: Page) -> None:
    """Print a page."""
    show_blocks(Paragraph((Marked(page.title),)), *page.blocks)


def show_blocks(*blocks: Block) -> None:
    """Print blocks, with an empty line between two."""
    width = None if sys.stdout.isatty() else _ENDLESS
    console = Console(width=width, highlight=False, markup=False, emoji=False, soft_wrap=True)
    shown = [lines for block in blocks if (lines := list(_Layout(console).block(block)))]
    for number, lines in enumerate(shown):
        for line in lines if number == 0 else [Text(), *lines]:
            line.rstrip()
            console.print(line)


class _Layout:
    """Blocks as lines of a console's width."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def block(self, block: Block) -> Iterator[Text]:
        match block:
            case Paragraph(parts):
                yield from self._wrapped(Text(" ").join(map(_inline, parts)), self._console.width)
            case Heading(text):
                yield from self._wrapped(_inline(Marked(text)), self._console.width)
            case Items(items, numbered):
                marks = [f"{number}." if numbered else "-" for number in range(1, len(items) + 1)]
                yield from self._pairs(
                    [(Text(mark), _inline(item)) for mark, item in zip(marks, items, strict=True)], " "
                )
            case Table():
                yield from self._table(block)

    def _table(self, table: Table) -> Iterator[Text]:
        filled = [i for i in range(len(table.columns)) if any(text_of(row[i]) for row in table.rows)]
        columns = [table.columns[i] for i in filled]
        rows = [[row[i] for i in filled] for row in table.rows]
        if not rows:
            return
        widths, beside = _widths(columns, rows, self._console.width), len(columns)
        if columns[-1].kind == "prose" and (widths is None or widths[-1] < _cramped(rows)):
            beside -= 1  # the last cell goes beneath the others
            widths = _widths(columns[:beside], [row[:beside] for row in rows], self._console.width)
        if widths is None:
            yield from self._cards(columns, rows)
            return
        for cells in ([_head(column) for column in columns], *([_inline(cell) for cell in row] for row in rows)):
            yield from self._row(cells[:beside], columns, widths)
            for cell in filter(None, cells[beside:]):
                yield from self._pairs([(Text(" " * widths[0]), cell)], _GAP)

    def _row(self, cells: Sequence[Text], columns: Sequence[Column], widths: Sequence[int]) -> Iterator[Text]:
        """Cells beside each other: as many lines as the longest needs."""
        wrapped = [self._wrapped(cell, width) for cell, width in zip(cells, widths, strict=True)]
        for parts in itertools.zip_longest(*wrapped, fillvalue=None):
            line = []
            for part, column, width in zip(parts, columns, widths, strict=False):
                found = part.copy() if part is not None else Text()
                found.align("right" if column.kind == "number" else "left", width)
                line.append(found)
            yield Text(_GAP).join(line)

    def _cards(self, columns: Sequence[Column], rows: Sequence[Sequence[Inline]]) -> Iterator[Text]:
        """A table that is too wide: each row as lines of its own, one for each cell with text."""
        for number, row in enumerate(rows):
            if number:
                yield Text()
            cells = zip(columns, row, strict=True)
            yield from self._pairs([(_head(column), _inline(cell)) for column, cell in cells if text_of(cell)], _GAP)

    def _pairs(self, pairs: Sequence[tuple[Text, Text]], gap: str) -> Iterator[Text]:
        """Names, or marks, with what belongs to each beside it."""
        left = max((name.cell_len for name, _ in pairs), default=0)
        right = max(1, self._console.width - left - len(gap))
        for name, part in pairs:
            for number, line in enumerate(self._wrapped(part, right)):
                first = name.copy() if number == 0 else Text()
                first.align("left", left)
                yield Text(gap).join([first, line])

    def _wrapped(self, text: Text, width: int) -> list[Text]:
        return list(text.wrap(self._console, width, overflow="fold"))


def _widths(columns: Sequence[Column], rows: Sequence[Sequence[Inline]], width: int) -> list[int] | None:
    """How wide each column is in a table that is `width` wide at most; None if its words do not fit."""
    whole, least = [], []
    for i, column in enumerate(columns):
        cells = [text_of(row[i]) for row in rows]
        head = _longest([column.head], len(column.head))
        whole.append(max(cell_len(column.head), *map(cell_len, cells)))
        least.append(max(head, _longest(cells, _LONG) if column.kind == "prose" else max(map(cell_len, cells))))
    room = width - len(_GAP) * (len(columns) - 1)
    for most in range(max(whole), 0, -1):  # the widest give way first
        widths = [max(few, min(all_of_it, most)) for few, all_of_it in zip(least, whole, strict=True)]
        if sum(widths) <= room:
            return widths
    return None


def _cramped(rows: Sequence[Sequence[Inline]]) -> int:
    """The width below which the last cells of a table are hard to read."""
    return min(_READABLE, max(cell_len(text_of(row[-1])) for row in rows))


def _longest(texts: Iterable[str], limit: int) -> int:
    """The length of the longest word, `limit` at most."""
    return min(limit, max((cell_len(word) for text in texts for word in text.split()), default=0))


def _head(column: Column) -> Text:
    return Text(text_of(column.head.upper()), "bold")


def _inline(part: Inline) -> Text:
    return Text(text_of(part), _STYLES[part.tone] if isinstance(part, Marked) else "")

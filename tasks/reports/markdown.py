"""Pages as Markdown, as Prefect's artifacts show it. Pictures are within, so a report needs no server."""

import base64
import html
import re

from tasks.reports.page import Block, Heading, Inline, Items, Link, Marked, Page, Paragraph, Picture, Table, text_of

_SPECIAL = re.compile(r"([\\`*_\[\]|#~])")
_LISTED = re.compile(r"^(\d*)([-+.)])(?= )")  # at its beginning Markdown would see an item of a list


def render(page: Page) -> str:
    """The page as Markdown."""
    return "\n\n".join([f"# {_inline(page.title)}", *map(_block, page.blocks)]) + "\n"


def artifact_key(*parts: str) -> str:
    """A key that Prefect takes: lower-case letters, digits and dashes.

    Names that differ in case or punctuation alone share a key; the reports under it say whose they are.
    """
    return "-".join(filter(None, (re.sub(r"[^a-z0-9]+", "-", part.lower()).strip("-") for part in parts)))


def _block(block: Block) -> str:
    match block:
        case Paragraph(parts):
            return " ".join(map(_inline, parts))
        case Heading(text):
            return f"## {_inline(text)}"
        case Items(items, numbered):
            return "\n".join(f"{f'{n}.' if numbered else '-'} {_inline(item)}" for n, item in enumerate(items, 1))
        case Table():
            return _table(block)
        case Picture(alt, draw):
            return f"![{_inline(alt)}](data:image/png;base64,{base64.b64encode(draw()).decode()})"


def _table(table: Table) -> str:
    rules = ["--:" if column.kind == "number" else ":--" for column in table.columns]
    rows = [[_inline(cell) for cell in row] for row in table.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in ([_inline(c.head) for c in table.columns], rules, *rows))


def _inline(part: Inline) -> str:
    """Markdown on one line that shows the text literally, whatever characters it holds."""
    text = _LISTED.sub(r"\1\\\2", _SPECIAL.sub(r"\\\1", html.escape(text_of(part), quote=False)))
    match part:
        case Marked(_, tone) if text and tone != "good":
            return f"**{text}**"
        case Link(_, url):
            return f"[{text}]({url})"
    return text

"""Pages in a terminal: as wide as it is, in colour only there, and with text as it is."""

import re
import sys
from collections.abc import Callable

import pytest
from rich.cells import cell_len

from tasks.reports import terminal
from tasks.reports.page import Column, Heading, Items, Marked, Page, Picture, paragraph, table
from tests.helpers.hostile_text import HOSTILE

ADDRESS = "http://serving-1.example:8501"
COLUMNS = [Column("replica"), Column("config", "number"), Column("address"), Column("none"), Column("error", "prose")]
ROWS = [
    ("r1", "7", ADDRESS, "", "MLP 7 did not load: the server has no memory left for another copy of its variables"),
    ("r2", "12", ADDRESS, "", ""),
]
PAGE = Page(
    "Replicas",
    (
        paragraph("There are", Marked("two", "bad"), "of them, and one is not what it should be, as the table says."),
        Heading("Table"),
        table(COLUMNS, ROWS),
        Items(("Look at it, and at what its agent says of it, for as long as it takes to understand.", "Go on."), True),
        Picture("dots", lambda: b"never drawn"),
    ),
)


@pytest.fixture
def in_terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes stdout a terminal of so many columns, with colours."""

    def make(columns: int) -> None:
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        monkeypatch.setenv("TERM", "xterm-256color")
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.delenv("NO_COLOR", raising=False)

    return make


def shown(page: Page, capsys: pytest.CaptureFixture[str]) -> str:
    terminal.show(page)
    return capsys.readouterr().out


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_where_no_terminal_is_each_row_is_one_line_without_colour(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(PAGE, capsys) == (
        "Replicas\n\n"
        "There are two of them, and one is not what it should be, as the table says.\n\n"
        "Table\n\n"
        "REPLICA  CONFIG  ADDRESS                        ERROR\n"
        f"r1            7  {ADDRESS}  {ROWS[0][4]}\n"
        f"r2           12  {ADDRESS}\n\n"
        "1. Look at it, and at what its agent says of it, for as long as it takes to understand.\n"
        "2. Go on.\n"
    )


def test_prose_is_wrapped_between_words_and_nothing_else_is_broken(
    in_terminal: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    in_terminal(82)
    text = plain(shown(PAGE, capsys))
    assert (
        "REPLICA  CONFIG  ADDRESS                        ERROR\n"
        f"r1            7  {ADDRESS}  MLP 7 did not load: the server has\n"
        "                                                no memory left for another copy of\n"
        "                                                its variables\n"
        f"r2           12  {ADDRESS}\n"
    ) in text
    assert "understand.\n2. Go on." in text
    assert "\n   understand." in text or "\n   to understand." in text


def test_where_a_last_column_of_prose_would_be_cramped_it_goes_beneath(
    in_terminal: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    in_terminal(60)
    assert (
        "REPLICA  CONFIG  ADDRESS\n"
        "         ERROR\n"
        f"r1            7  {ADDRESS}\n"
        "         MLP 7 did not load: the server has no memory left\n"
        "         for another copy of its variables\n"
        f"r2           12  {ADDRESS}\n\n"
    ) in plain(shown(PAGE, capsys))


def test_a_table_that_is_too_wide_has_a_line_for_each_cell_with_text(
    in_terminal: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    in_terminal(44)
    text = plain(shown(PAGE, capsys))
    assert f"REPLICA  r1\nCONFIG   7\nADDRESS  {ADDRESS}\nERROR    MLP 7 did not load: the server has\n" in text
    assert f"\n\nREPLICA  r2\nCONFIG   12\nADDRESS  {ADDRESS}\n\n" in text


@pytest.mark.parametrize("columns", [20, 40, 60, 80, 160])
def test_no_text_is_lost_at_any_width_and_no_line_is_longer(
    in_terminal: Callable[[int], None], capsys: pytest.CaptureFixture[str], columns: int
) -> None:
    in_terminal(columns)
    text = plain(shown(PAGE, capsys))
    assert max(map(cell_len, text.splitlines())) <= columns
    for cell in (cell for row in ROWS for cell in row):
        assert "".join(cell.split()) in "".join(text.split()) or columns == 80, "wrapped beside others at 80"


def test_a_terminal_has_colours_unless_they_are_unwanted(
    in_terminal: Callable[[int], None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    in_terminal(60)
    assert "\x1b[1;31mtwo\x1b[0m" in shown(PAGE, capsys)
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[[0-9;]*3\dm", shown(PAGE, capsys))


@pytest.mark.parametrize("hostile", HOSTILE)
def test_text_from_elsewhere_is_shown_as_it_is_on_its_own_line(
    in_terminal: Callable[[int], None], capsys: pytest.CaptureFixture[str], hostile: str
) -> None:
    page = Page(
        hostile, (paragraph(hostile), Items((hostile,)), table([Column("a"), Column("b", "prose")], [("x", hostile)]))
    )
    text = plain(shown(page, capsys))
    assert text.count("\n") == 8
    assert "\x1b" not in text
    assert text.isprintable() or set(text) - {"\n"} == {c for c in text if c.isprintable()}
    if hostile.isprintable():
        assert text.count(hostile) == 4


def test_wide_characters_keep_their_columns(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(Page("T", (table([Column("name"), Column("n", "number")], [("数字", "1"), ("ab", "2")]),)), capsys)
    assert text.splitlines()[2:] == ["NAME  N", "数字  1", "ab    2"]

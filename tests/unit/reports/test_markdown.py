"""Pages as Markdown."""

import re

import pytest

from tasks.reports.markdown import artifact_key, render
from tasks.reports.page import Column, Heading, Items, Link, Marked, Page, Picture, paragraph, table
from tests.helpers.hostile_text import HOSTILE


@pytest.mark.parametrize(
    ("parts", "key"),
    [
        (("training", "MLP"), "training-mlp"),
        (("validation", "my_model.v2", "12"), "validation-my-model-v2-12"),
        (("a", "", "--b--"), "a-b"),
    ],
)
def test_artifact_keys_hold_lower_case_letters_digits_and_dashes(parts: tuple[str, ...], key: str) -> None:
    assert artifact_key(*parts) == key


def test_a_page_has_its_blocks_in_order_with_a_line_between() -> None:
    page = Page(
        "T",
        (
            paragraph("Right:", Marked("all", "good"), Marked("none", "bad"), Link("here", "http://x/y")),
            Heading("H"),
            Items(("a", "b"), numbered=True),
            Items((Marked("c"),)),
            Picture("dots", lambda: b"png"),
        ),
    )
    assert render(page) == (
        "# T\n\nRight: all **none** [here](http://x/y)\n\n## H\n\n1. a\n2. b\n\n- **c**\n\n"
        "![dots](data:image/png;base64,cG5n)\n"
    )


def test_a_table_has_numbers_on_the_right() -> None:
    shown = render(Page("T", (table([Column("name"), Column("n", "number")], [("a", "1"), ("b", "22")]),)))
    assert shown.endswith("\n\n| name | n |\n| :-- | --: |\n| a | 1 |\n| b | 22 |\n")


def test_a_table_without_rows_is_a_head() -> None:
    assert render(Page("T", (table([Column("a"), Column("b")], []),))).endswith("| a | b |\n| :-- | :-- |\n")


@pytest.mark.parametrize("hostile", HOSTILE)
def test_no_text_from_elsewhere_breaks_out_of_its_cell(hostile: str) -> None:
    line = render(Page("T", (table([Column("name")], [(hostile,)]),))).splitlines()[4:]
    assert len(line) == 1
    assert len(re.findall(r"(?<!\\)\|", line[0])) == 2
    assert "<" not in line[0]
    assert "](" not in line[0].replace("\\](", "")


@pytest.mark.parametrize("hostile", HOSTILE)
def test_no_text_from_elsewhere_adds_a_line_or_a_heading(hostile: str) -> None:
    shown = render(Page(hostile, (paragraph(hostile), Items((hostile,)))))
    assert len(shown.splitlines()) == 5
    assert not re.search(r"^(#{2,} |- [-+] |- \d+[.)] |\d+[.)] |[-+] [-+] )", shown, re.MULTILINE)

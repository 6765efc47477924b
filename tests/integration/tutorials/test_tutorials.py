"""Each tutorial, followed to the letter in an empty folder: its files are written, its commands run, with one stack."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.local import LocalStack

# Beside the other tests of a stack, and so with one of its own: together they would take longest of all.
pytestmark = pytest.mark.xdist_group("tutorials")

ROOT = Path(__file__).parents[3]
PAGES = sorted(set((ROOT / "docs" / "tutorials").glob("*.md")) - {ROOT / "docs" / "tutorials" / "README.md"})
IN_MAKE_TEST = ("regression",)  # a page takes about a minute; the others are in `make soak`
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
NUMBER = re.compile(r"[-+]?\d+\.\d+")  # machines round differently


def marked(page: Path) -> object:
    """A page as a parameter of tests."""
    return pytest.param(page, id=page.stem, marks=() if page.stem in IN_MAKE_TEST else pytest.mark.soak)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", [marked(page) for page in PAGES])
def test_a_tutorial_does_what_it_says(stack: LocalStack, tmp_path: Path, page: Path) -> None:
    blocks = BLOCK.findall(page.read_text())
    for (kind, block), (next_kind, shown) in zip(blocks, [*blocks[1:], ("", "")], strict=True):
        if kind == "python":
            file = re.match(r"# (\w+\.py)\n", block)
            assert file, f"a block of Python whose first line does not name its file:\n{block}"
            (tmp_path / file[1]).write_text(block.replace(":8501", f":{stack.settings.rest_port}"))
        elif kind == "":
            expected = shown if next_kind == "text" else ""
            printed = run(stack, tmp_path, block, fails=expected.startswith("slipway: "))
            for line in expected.splitlines():
                assert re.search(pattern(line), printed), f"{line}\nis not printed by\n{block}which printed\n{printed}"


def run(stack: LocalStack, folder: Path, commands: str, fails: bool) -> str:
    """What a shell prints that is given these commands; it must end with 1 if it `fails`, else with 0."""
    done = subprocess.run(
        ["bash", "-ec", commands],
        cwd=folder,
        env=stack.env | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=280,
    )
    assert done.returncode == int(fails), done.stdout
    assert "Traceback" not in done.stdout
    return done.stdout


def pattern(line: str) -> str:
    """A line as a page shows it: whatever the numbers with a decimal point are, and what was left out (…)."""
    parts = [".*".join(map(re.escape, part.split("…"))) for part in NUMBER.split(line)]
    return NUMBER.pattern.join(parts)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_tutorial_goes_all_the_way(page: Path) -> None:
    text = page.read_text()
    (model,) = set(re.findall(r"^slipway \w+ (\w+)", text, re.MULTILINE))
    stages = (
        f"{model} version 1 is accepted and serves.",
        f"Better than version 1.\n{model} version 2 is accepted and serves.",
        "slipway: The trained model is worse than version 2, which serves: ",
        f"{model} version 1 is served again.",
        '"signature_name"',
        "python client.py",
    )
    found = [text.find(stage) for stage in stages]
    assert -1 not in found
    assert found == sorted(found)
    title = text.partition("\n")[0].removeprefix("# ")
    assert f"[{title}]({page.name})" in (page.parent / "README.md").read_text()

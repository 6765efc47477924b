"""Doing what a page under docs/how-to says: what it has a reader write and change, written and changed in a copy."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
HOW_TO = ROOT / "docs" / "how-to"
# The path that a paragraph ends with, and the block behind it.
_BLOCK = re.compile(r"`([\w./-]+)`:\n\n^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def follow(page: Path, copy: Path) -> tuple[dict[str, int], dict[str, int]]:
    """Write each file of `page` into `copy`, and make each change; the lines of each file, and those changed of others.

    A block with a path before it is a file, or with the language `diff` a change: hunks begin with `@@`, and every line
    that is not added must stand in the file.
    """
    written: dict[str, int] = {}
    changed: dict[str, int] = {}
    for path, language, block in _BLOCK.findall(page.read_text()):
        target = copy / path
        if language == "diff":
            text = target.read_text()
            for hunk in re.split(r"^@@.*\n", block, flags=re.MULTILINE):
                lines = hunk.splitlines(keepends=True)
                before, after = ("".join(line[1:] for line in lines if line[0] in signs) for signs in (" -", " +"))
                assert text.count(before) == 1, f"{page.name}: {path} does not have once:\n{before}"
                text = text.replace(before, after)
                changed[path] = changed.get(path, 0) + sum(line[0] in "+-" for line in lines)
            target.write_text(text)
        else:
            assert not target.exists(), f"{page.name}: {path} is there already"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(block)
            written[path] = block.count("\n")
    return written, changed


def copied(folder: Path) -> Path:
    """A copy of all packages and of their tests in `folder`."""
    for package in ("flows", "tasks", "infra", "slipway_entry", "tests"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__", "conformance"))
    for name in ("pyproject.toml", "prefect.yaml"):
        shutil.copy(ROOT / name, folder)
    return folder


def run(copy: Path, *arguments: str) -> str:
    """What `python ARGUMENT…` prints in a copy, whose packages it imports."""
    done = subprocess.run([sys.executable, *arguments], cwd=copy, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout

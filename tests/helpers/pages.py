"""Doing what a page under docs/how-to says: what it has a reader write and change, written and changed in a copy."""

import re
from pathlib import Path

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

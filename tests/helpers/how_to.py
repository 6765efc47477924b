"""The pages of docs/how-to, followed to the letter: in a copy of the packages, with each file as the page has it."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def files_of(page: str) -> dict[str, str]:
    """What a page has its reader write: each file's path, and its content."""
    text = (ROOT / "docs" / "how-to" / page).read_text()
    return dict(re.findall(r"^Write `([^`]+)`:\n\n```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))


def lines_of(page: str) -> list[tuple[str, str, str]]:
    """What a page has its reader add: the file's path, the line below which it goes, and the lines."""
    text = (ROOT / "docs" / "how-to" / page).read_text()
    pattern = r"^In `([^`]+)`, add below `([^`]+)`:\n\n```text\n(.*?)^```$"
    return re.findall(pattern, text, re.DOTALL | re.MULTILINE)


def follow(page: str, folder: Path) -> Path:
    """A copy of the packages and of their tests in `folder`, in which a page was followed."""
    for package in ("flows", "tasks", "infra", "slipway_entry", "tests"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__", "conformance"))
    for name in ("pyproject.toml", "prefect.yaml"):
        shutil.copy(ROOT / name, folder)
    for path, content in files_of(page).items():
        assert not (folder / path).exists(), f"{path} is there already"
        (folder / path).write_text(content)
    for path, above, added in lines_of(page):
        whole = (folder / path).read_text().splitlines(keepends=True)
        (place,) = (number for number, line in enumerate(whole, 1) if line.strip() == above)
        (folder / path).write_text("".join([*whole[:place], added, *whole[place:]]))
    return folder


def run(copy: Path, *arguments: str) -> str:
    """What `python ARGUMENT…` prints in a copy, whose packages it imports."""
    done = subprocess.run([sys.executable, *arguments], cwd=copy, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout

"""The page on adding a store, followed to the letter in a copy: its store keeps what every store promises."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.pages import follow

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "how-to" / "add-a-store.md"


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of Slipway in which everything was written that the page says, and nothing else."""
    copy = tmp_path_factory.mktemp("copy")
    for folder in ("tasks", "tests/helpers"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "tests/__init__.py", "tests/conftest.py"):
        shutil.copy(ROOT / file, copy / file)
    return copy


def test_a_store_that_was_added_as_the_page_says_keeps_every_promise(copy: Path) -> None:
    written, changed = follow(PAGE, copy)
    assert written.keys() == {"tasks/store/folder.py", "tests/unit/store/test_folder.py"}
    lines = written["tasks/store/folder.py"]
    assert changed == {"tasks/store/connect.py": 2}
    assert f"one file of {lines} lines and two lines of another" in re.sub(r"\s+", " ", PAGE.read_text())
    for command in (["ruff", "check", *written], ["ruff", "format", "--check", *written, *changed]):
        subprocess.run([Path(sys.prefix, "bin", command[0]), *command[1:]], cwd=copy, check=True)
    asked = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/unit/store/test_folder.py"]
    done = subprocess.run(asked, cwd=copy, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr

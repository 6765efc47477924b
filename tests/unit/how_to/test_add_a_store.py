"""The page on adding a store, followed to the letter."""

import re
from pathlib import Path

import pytest

from tests.helpers.pages import HOW_TO, copied, follow, run

PAGE = HOW_TO / "add-a-store.md"
FILE = "tasks/store/folder.py"
TEST = "tests/unit/store/test_folder.py"
LIST = "tasks/store/connect.py"


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy in which a file and its test were written, and two lines added to the list."""
    copy = copied(tmp_path_factory.mktemp("copy"))
    written, changed = follow(PAGE, copy)
    assert (written.keys(), changed) == ({FILE, TEST}, {LIST: 2})
    said = re.sub(r"\s+", " ", PAGE.read_text())
    assert f"one file of {written[FILE]} lines and two lines of another" in said
    return copy


def test_a_store_that_was_added_keeps_every_promise(copy: Path) -> None:
    said = run(copy, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", TEST)
    assert "passed" in said


def test_doctor_finds_it_suitable(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "slipway").mkdir()
    code = (
        "import sys; from infra.cli import doctor; from tasks.settings import Settings;"
        "print(doctor.store(Settings(s3_endpoint=sys.argv[1]), up=False).found)"
    )
    said = run(copy, "-c", code, f"file://{tmp_path}")
    assert said.strip() == f"file://{tmp_path}, bucket slipway: takes the credentials, honours create-if-absent"


def test_what_is_written_needs_no_correction_of_its_style(copy: Path) -> None:
    run(copy, "-m", "ruff", "check", FILE, TEST, LIST)
    run(copy, "-m", "ruff", "format", "--check", FILE, TEST, LIST)

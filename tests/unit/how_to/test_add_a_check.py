"""The page on adding a check, followed to the letter."""

from pathlib import Path

import pytest

from tests.helpers.pages import HOW_TO, copied, follow, run

FILE = "tasks/validation/checks/class_balance.py"
TEST = "tests/unit/validation/checks/test_class_balance.py"
LIST = "tasks/validation/checks/registered.py"


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy in which a file and its test were written, and one line was added to the list."""
    copy = copied(tmp_path_factory.mktemp("copy"))
    written, changed = follow(HOW_TO / "add-a-check.md", copy)
    assert (written.keys(), changed) == ({FILE, TEST}, {LIST: 1})
    return copy


def test_a_good_version_passes_and_a_bad_one_is_refused_and_all_checks_do_what_each_must(copy: Path) -> None:
    tests = "tests/unit/validation/checks"
    said = run(copy, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", tests)
    assert "passed" in said


def test_a_preview_says_what_the_check_will_ask(copy: Path) -> None:
    code = (
        "from tasks.validation.checks import registered; from tests.helpers.subjects import classifying;"
        "print(registered.__file__, registered.sentences(classifying([0], [0]).expected)[-1])"
    )
    assert run(copy, "-c", code).strip() == (
        f"{copy / LIST} whether it still answers with every class that has held-out examples"
    )

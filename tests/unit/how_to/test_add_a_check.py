"""The page on adding a check, followed to the letter."""

from pathlib import Path

import pytest

from tests.helpers import how_to

PAGE = "add-a-check.md"


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return how_to.follow(PAGE, tmp_path_factory.mktemp("copy"))


def test_the_page_has_two_files_written_and_one_line_added() -> None:
    assert list(how_to.files_of(PAGE)) == [
        "tasks/validation/checks/class_balance.py",
        "tests/unit/validation/checks/test_class_balance.py",
    ]
    ((path, _, lines),) = how_to.lines_of(PAGE)
    assert (path, lines) == ("tasks/validation/checks/registered.py", '    "class_balance",\n')


def test_a_good_version_passes_and_a_bad_one_is_refused_and_all_checks_do_what_each_must(copy: Path) -> None:
    tests = "tests/unit/validation/checks"
    said = how_to.run(copy, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", tests)
    assert "passed" in said


def test_a_preview_says_what_the_check_will_ask(copy: Path) -> None:
    code = (
        "from tasks.validation.checks import registered; from tests.helpers.subjects import classifying;"
        "print(registered.__file__, registered.sentences(classifying([0], [0]).expected)[-1])"
    )
    assert how_to.run(copy, "-c", code).strip() == (
        f"{copy / 'tasks/validation/checks/registered.py'} "
        "whether it still answers with every class that has held-out examples"
    )

"""The page on adding a strategy, followed to the letter."""

from pathlib import Path

import pytest

from tests.helpers import how_to

PAGE = "add-a-strategy.md"


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return how_to.follow(PAGE, tmp_path_factory.mktemp("copy"))


def test_the_page_has_two_files_written_and_none_changed() -> None:
    assert list(how_to.files_of(PAGE)) == [
        "tasks/delivery/strategies/replica_by_replica.py",
        "tests/unit/delivery/strategies/test_replica_by_replica.py",
    ]


def test_its_own_test_passes_and_the_strategy_is_held_to_what_every_one_is(copy: Path) -> None:
    tests = (
        "tests/unit/delivery/strategies",
        "tests/unit/flows/test_rollout.py",
    )
    said = how_to.run(copy, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", *tests)
    assert "passed" in said


def test_commands_offer_it(copy: Path) -> None:
    code = "from infra.cli.options import strategies; print(strategies.__file__, *strategies.known())"
    assert how_to.run(copy, "-c", code).split() == [
        str(copy / "tasks/delivery/strategies/__init__.py"),
        "blue-green",
        "labels",
        "replica-by-replica",
    ]

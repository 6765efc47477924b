"""The page on adding a strategy, followed to the letter."""

from pathlib import Path

import pytest

from tests.helpers.pages import HOW_TO, copied, follow, run

FILE = "tasks/delivery/strategies/replica_by_replica.py"
TEST = "tests/unit/delivery/strategies/test_replica_by_replica.py"


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy in which a file and its test were written, and none changed."""
    copy = copied(tmp_path_factory.mktemp("copy"))
    written, changed = follow(HOW_TO / "add-a-strategy.md", copy)
    assert (written.keys(), changed) == ({FILE, TEST}, {})
    return copy


def test_its_own_test_passes_and_the_strategy_is_held_to_what_every_one_is(copy: Path) -> None:
    tests = (
        "tests/unit/delivery/strategies",
        "tests/unit/flows/test_rollout.py",
    )
    said = run(copy, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", *tests)
    assert "passed" in said


def test_commands_offer_it(copy: Path) -> None:
    code = "from infra.cli.options import strategies; print(strategies.__file__, *strategies.known())"
    assert run(copy, "-c", code).split() == [
        str(copy / "tasks/delivery/strategies/__init__.py"),
        "blue-green",
        "labels",
        "replica-by-replica",
    ]

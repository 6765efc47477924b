"""Which versions may go."""

import pytest

from tasks.delivery.prune import decide_pruning, plan_pruning
from tasks.errors import InvalidInput
from tasks.records import FileEntry, Manifest, Training, Verdict, VerdictState
from tasks.store.base import Store
from tasks.versions.catalog import Version
from tests.helpers.versions import UNSIGNED


def version(number: int, state: VerdictState | None = "accepted") -> Version:
    manifest = Manifest("MLP", number, "", (FileEntry("saved_model.pb", 1000, "ab"),), {}, None, Training())
    verdict = Verdict("MLP", number, state, "", "run") if state else None
    return Version(manifest, verdict)


def going(found: list[Version], keep: int, **needed: str) -> list[int]:
    reasons: dict[int | None, list[str]] = {int(number.removeprefix("v")): [why] for number, why in needed.items()}
    return [fate.version for fate in decide_pruning("MLP", found, keep, reasons).going]


def test_the_newest_stay() -> None:
    assert going([version(n) for n in (1, 2, 3, 4)], 2) == [1, 2]
    assert going([version(n) for n in (10, 9, 2)], 2) == [2]
    assert going([version(1)], 5) == []


def test_a_rejected_version_does_not_count_among_the_newest() -> None:
    assert going([version(1), version(2), version(3, "rejected"), version(4, "rejected")], 2) == [3, 4]


def test_a_version_that_no_rollout_has_judged_yet_counts() -> None:
    assert going([version(1), version(2, None)], 1) == [1]


def test_what_is_needed_stays_however_old_and_says_why() -> None:
    found = [version(n) for n in (1, 2, 3)]
    assert going(found, 1, v1="served by fleet default") == [2]
    fates = decide_pruning("MLP", found, 1, {1: ["champion in MLflow"]}).fates
    assert [fate.kept for fate in fates] == [("champion in MLflow",), (), ("one of the newest 1",)]


def test_where_a_fleet_takes_whatever_there_is_everything_stays() -> None:
    assert decide_pruning("MLP", [version(1), version(2)], 1, {None: ["served by fleet default"]}).going == ()


def test_keeping_nothing_is_refused(store: Store) -> None:
    with pytest.raises(InvalidInput, match="keep at least 1"):
        plan_pruning(store, UNSIGNED, "MLP", 0, None)

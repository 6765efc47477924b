"""Each time that a replica falls behind or comes back is told once."""

from typing import cast

import pytest

from tasks.fleet.changes import note, replica_changes
from tasks.fleet.config import Fleet, serving_entry
from tasks.fleet.replicas import LEASE
from tasks.records import ReplicaReport
from tasks.store import keys
from tasks.store.base import Store
from tests.helpers.stores import MemoryStore
from tests.helpers.versions import UNSIGNED


@pytest.fixture
def fleet(store: Store) -> Fleet:
    """A fleet whose newest config is number 2."""
    found = Fleet(store, UNSIGNED, "test", 1.0)
    for version in (1, 2):
        found.change({"MLP": serving_entry("MLP", "s3://b/models/MLP", [version], {})}, "test")
    return found


def reports(fleet: Fleet, config: int, *, error: str | None = None, silent: bool = False, name: str = "r1") -> None:
    fleet.put_report(ReplicaReport(name, "", "", config, {}, error, error_model="MLP" if error else None))
    if silent:
        cast(MemoryStore, fleet.store).backdate(keys.replica_key(fleet.name, name), 2 * LEASE.total_seconds())


def told(fleet: Fleet) -> list[tuple[str, str, int]]:
    found = replica_changes(fleet)
    note(fleet, found)
    return [(change.replica, change.what, change.number) for change in found]


def test_each_change_is_told_once_and_the_next_one_has_another_number(fleet: Fleet) -> None:
    seen = []
    for config, silent in ((2, False), (2, True), (2, True), (2, False), (2, False), (1, False), (2, False)):
        reports(fleet, config, silent=silent)
        seen.append(told(fleet))
    behind, back, again, and_back = (
        [("r1", "behind", 1)],
        [("r1", "back", 2)],
        [("r1", "behind", 3)],
        [("r1", "back", 4)],
    )
    assert seen == [[], behind, [], back, [], again, and_back]


def test_what_was_not_noted_is_told_again_under_the_same_number(fleet: Fleet) -> None:
    reports(fleet, 1)
    first = replica_changes(fleet)
    assert replica_changes(fleet) == first != []


def test_a_change_says_why_and_which_model_is_at_fault(fleet: Fleet) -> None:
    reports(fleet, 1, error="MLP 2 did not load", name="r1")
    reports(fleet, 1, name="r2")
    reports(fleet, 2, silent=True, name="r3")
    found = {change.replica: change for change in replica_changes(fleet)}
    assert (found["r1"].reason, found["r1"].model) == ("MLP 2 did not load", "MLP")
    assert (found["r2"].reason, found["r2"].model) == ("It is at config 1; the newest is 2.", None)
    assert found["r3"].reason == f"It last reported {2 * LEASE.seconds} s ago."


def test_during_a_rollout_only_silence_is_told(fleet: Fleet) -> None:
    fleet.store.put(keys.rollout_key("test", "MLP"), b"{}")
    reports(fleet, 1, name="r1")
    reports(fleet, 1, error="MLP 2 did not load", name="r2")
    reports(fleet, 1, silent=True, name="r3")
    assert told(fleet) == [("r3", "behind", 1)]


def test_a_replica_that_is_not_ready_again_is_not_back(fleet: Fleet) -> None:
    reports(fleet, 1, silent=True)
    told(fleet)
    reports(fleet, 1)
    assert told(fleet) == []


def test_two_that_note_at_once_lose_nothing(fleet: Fleet) -> None:
    reports(fleet, 1, name="r1")
    first = replica_changes(fleet)
    reports(fleet, 1, name="r2")
    note(fleet, replica_changes(fleet))
    note(fleet, first)
    assert told(fleet) == []

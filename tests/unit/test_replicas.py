"""How a replica stands to its fleet's newest config."""

from datetime import UTC, datetime, timedelta

import pytest

from tasks import layout
from tasks.fleet import Fleet, serving_entry
from tasks.records import ReplicaReport, VersionState
from tasks.replicas import LEASE, fails_at, judge, needed_for, states
from tasks.store import Store

THEN = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("config", "error", "silent", "state"),
    [
        (5, None, 0, "ready"),
        (4, None, 0, "behind"),
        (4, "MLP 7 did not load", 0, "failing"),
        (5, None, LEASE.seconds + 1, "silent"),
        (4, "MLP 7 did not load", LEASE.seconds + 1, "silent"),
    ],
)
def test_a_replica_is_ready_behind_failing_or_silent(config: int, error: str | None, silent: int, state: str) -> None:
    report = ReplicaReport("r1", "http://r1", "r1:8500", config, {}, error, time=THEN)
    judged = judge(report, 5, THEN + timedelta(seconds=silent), {})
    assert (judged.state, judged.silent) == (state, silent)


def test_what_a_replica_serves_is_what_is_available_with_its_labels() -> None:
    models = {"MLP": (VersionState(7, "AVAILABLE"), VersionState(6, "END")), "Other": (VersionState(1, "LOADING"),)}
    assert judge(ReplicaReport("r1", "", "", 5, models, time=THEN), 5, THEN, {}).serves == "MLP 7"
    labels = {"MLP": {"stable": 7, "best": 7, "old": 6}}
    assert judge(ReplicaReport("r1", "", "", 5, models, time=THEN), 5, THEN, labels).serves == "MLP 7 (best, stable)"
    assert judge(ReplicaReport("r1", "", "", 5, {}, time=THEN), 5, THEN, {}).serves == "nothing"


def test_labels_are_those_of_the_config_that_a_replica_has_reached(store: Store) -> None:
    fleet = Fleet(store, "test", 1.0)
    models = {"MLP": (VersionState(7, "AVAILABLE"), VersionState(6, "AVAILABLE"))}
    for stable in (6, 7):
        fleet.change({"MLP": serving_entry("MLP", "s3://b/models/MLP", [6, 7], {"stable": stable})}, "test")
    for number in (1, 2, 9):  # the last is one that the fleet never had
        report = ReplicaReport(f"r{number}", "", "", number, models)
        store.put(layout.replica_key("test", report.replica), report.to_json())
    assert [s.serves for s in states(fleet)] == ["MLP 7, MLP 6 (stable)", "MLP 7 (stable), MLP 6", "MLP 7, MLP 6"]


@pytest.mark.parametrize(
    ("quorum", "alive", "needed"), [(1.0, 3, 3), (0.5, 3, 2), (0.7, 10, 7), (0.01, 3, 1), (1.0, 0, 1)]
)
def test_a_quorum_is_rounded_up_and_never_nobody(quorum: float, alive: int, needed: int) -> None:
    assert needed_for(quorum, alive) == needed


@pytest.mark.parametrize(
    ("at_fault", "mine"),
    [(None, True), ("MLP", True), ("MLP-candidate", True), ("Other", False), ("Other-candidate", False)],
)
def test_a_rollout_fails_by_its_own_models_faults_and_waits_out_those_of_others(
    at_fault: str | None, mine: bool
) -> None:
    report = ReplicaReport("r1", "", "", 4, {}, "did not load", error_config=5, error_model=at_fault, time=THEN)
    assert fails_at(report, 5, "MLP") is mine
    assert not fails_at(report, 6, "MLP")

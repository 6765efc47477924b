"""How a replica stands to its fleet's newest config."""

import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest

from tasks.errors import (
    DeadlineExceeded,
    InvalidInput,
    InvalidSettings,
    NoReplica,
    NotFound,
    RolloutFailed,
    VersionFailed,
)
from tasks.fleet import replicas
from tasks.fleet.config import Fleet, WithoutAgents, serving_entry
from tasks.fleet.replicas import (
    LEASE,
    await_config,
    fails_at,
    judge,
    needed_for,
    no_replica_message,
    replica_states,
    require_replicas,
    unknown_message,
)
from tasks.records import ReplicaReport, VersionState, now
from tasks.settings import ServerAddress
from tasks.store import keys
from tasks.store.base import Store
from tests.helpers.stores import MemoryStore
from tests.helpers.versions import UNSIGNED

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
    fleet = Fleet(store, UNSIGNED, "test", 1.0)
    models = {"MLP": (VersionState(7, "AVAILABLE"), VersionState(6, "AVAILABLE"))}
    for stable in (6, 7):
        fleet.change({"MLP": serving_entry("MLP", "s3://b/models/MLP", [6, 7], {"stable": stable})}, "test")
    for number in (1, 2, 9):  # the last is one that the fleet never had
        report = ReplicaReport(f"r{number}", "", "", number, models)
        store.put(keys.replica_key("test", report.replica), report.to_json())
    assert [s.serves for s in replica_states(fleet)] == [
        "MLP 7, MLP 6 (stable)",
        "MLP 7 (stable), MLP 6",
        "MLP 7, MLP 6",
    ]


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


def test_only_the_replicas_that_a_config_is_for_are_waited_for(store: Store) -> None:
    fleet = Fleet(store, UNSIGNED, "test", 0.3)
    for name in ("r1", "r2"):
        fleet.put_report(ReplicaReport(name, "", "", 1 if name == "r1" else 0, {}))
    config = fleet.change({}, "test", always=True)
    assert [report.replica for report in await_config(fleet, config, "MLP", only=("r1",))] == ["r1"]
    with pytest.raises(DeadlineExceeded, match="r2 is at config 0"):
        await_config(fleet, config, "MLP", only=("r2",))
    with pytest.raises(DeadlineExceeded, match="none of r3 did"):
        await_config(fleet, config, "MLP", only=("r3",))


def test_a_replica_that_is_held_back_has_the_labels_of_before(store: Store) -> None:
    fleet = Fleet(store, UNSIGNED, "test", 1.0)
    for stable in (6, 7):
        entry = serving_entry("MLP", "s3://b/models/MLP", [6, 7], {"stable": stable})
        fleet.change({"MLP": entry}, "test", only=("r1",) if stable == 7 else ())
    models = {"MLP": (VersionState(7, "AVAILABLE"), VersionState(6, "AVAILABLE"))}
    for name in ("r1", "r2"):
        fleet.put_report(ReplicaReport(name, "", "", 2, models))
    assert [s.serves for s in replica_states(fleet)] == ["MLP 7 (stable), MLP 6", "MLP 7, MLP 6 (stable)"]


def test_a_fleet_of_which_nothing_is_known_is_told_with_the_one_that_may_be_meant(store: Store) -> None:
    assert unknown_message(Fleet(store, UNSIGNED, "test", 1.0)) == (
        "Fleet 'test' does not exist: nothing was rolled out to it, and no replica of it has reported. "
        "There is no fleet yet."
    )
    Fleet(store, UNSIGNED, "test", 1.0).change({}, "a rollout", always=True)
    told = unknown_message(Fleet(store, UNSIGNED, "tset", 1.0))
    assert told is not None
    assert told.endswith("has reported. Is 'test' meant? Fleets: test.")
    assert unknown_message(Fleet(store, UNSIGNED, "test", 1.0)) is None


def report_of(fleet: Fleet, silent: float, error: str | None = None) -> None:
    fleet.put_report(ReplicaReport("r1", "http://r1", "r1:8500", 0, {}, error))
    cast(MemoryStore, fleet.store).backdate(keys.replica_key(fleet.name, "r1"), silent)


def test_a_fleet_that_nobody_ever_reported_to_is_refused_with_the_one_that_was_meant(store: Store) -> None:
    fleet = Fleet(store, UNSIGNED, "defualt", 1.0)
    with pytest.raises(NoReplica, match=r"Fleet 'defualt' has no replica: .* No fleet has one: `make up` starts"):
        require_replicas(fleet)
    report_of(Fleet(store, UNSIGNED, "default", 1.0), 0)
    report_of(Fleet(store, UNSIGNED, "canary", 1.0), 1000)
    fleet.change({}, "written by mistake", always=True)
    with pytest.raises(NoReplica) as refused:
        require_replicas(fleet)
    assert str(refused.value) == (
        "Fleet 'defualt' has no replica: none has ever reported. Is 'default' meant? Fleets with replicas: canary, "
        "default. Nothing was changed. Where its replicas are about to start, a release or rollout with `--new-fleet` "
        "(`new_fleet` in the form) waits for the first one."
    )
    require_replicas(fleet, new_fleet=True)


def test_a_fleet_whose_replicas_are_all_silent_is_refused_with_their_latest_reports(store: Store) -> None:
    fleet = Fleet(store, UNSIGNED, "default", 1.0)
    report_of(fleet, 1000, "MLP 7 did not load")
    with pytest.raises(
        NoReplica, match=r"No replica of fleet 'default' reports: r1 reported \d+ s ago \(MLP 7 did not load\)\."
    ):
        require_replicas(fleet, patience=0)
    for number in range(6):
        fleet.put_report(ReplicaReport(f"r{number}", "", "", 0, {}))
        cast(MemoryStore, store).backdate(keys.replica_key("default", f"r{number}"), 1000 + number)
    assert re.search(r"r4 reported \d+ s ago, and 1 more before\. Start one", no_replica_message(fleet))
    report_of(fleet, 0, "MLP 7 did not load")
    require_replicas(fleet)


def test_a_replica_that_was_away_for_a_moment_is_waited_for(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = Fleet(store, UNSIGNED, "default", 1.0)
    report_of(fleet, 1000)
    monkeypatch.setattr("tasks.fleet.replicas.time.sleep", lambda _seconds: report_of(fleet, 0))
    require_replicas(fleet)


def test_servers_without_agents_are_replicas_by_their_addresses(store: Store, tmp_path: Path) -> None:
    direct = WithoutAgents((ServerAddress("127.0.0.1", 1, 1),), tmp_path, 1.0)
    require_replicas(Fleet(store, UNSIGNED, "default", 1.0, without_agents=direct))


@pytest.mark.parametrize("wrong", [timedelta(hours=-1), timedelta(hours=1)])
def test_the_clock_of_a_replicas_machine_does_not_say_how_old_its_report_is(store: Store, wrong: timedelta) -> None:
    fleet = Fleet(store, UNSIGNED, "test", 1.0)
    fleet.put_report(ReplicaReport("r1", "", "", 0, {}, time=now() + wrong))
    assert [state.state for state in replica_states(fleet)] == ["ready"]
    cast(MemoryStore, store).backdate(keys.replica_key("test", "r1"), LEASE.total_seconds() + 1)
    assert [state.state for state in replica_states(fleet)] == ["silent"]


def test_a_report_that_cannot_be_read_is_named_and_hides_no_other(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    fleet = Fleet(store, UNSIGNED, "test", 1.0)
    fleet.put_report(ReplicaReport("r1", "", "", 0, {}))
    for name in ("r0.json", "r2.json", "notes.txt", "x/r3.json"):
        store.put(f"{keys.replicas_prefix('test')}{name}", b"\xff not JSON {")
    assert [report.replica for report in replicas.reports(fleet)] == ["r1"]
    assert [name for name in ("r0.json", "r2.json", "notes.txt", "r3.json") if name in caplog.text] == [
        "r0.json",
        "r2.json",
    ]


def failing(name: str, by_version: bool) -> ReplicaReport:
    return ReplicaReport(name, "", "", 0, {}, "it failed", 1, "MLP", error_by_version=by_version)


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        ([failing("r1", True), failing("r2", True)], VersionFailed),
        ([failing("r1", True), failing("r2", False)], RolloutFailed),
        ([failing("r1", True), ReplicaReport("r2", "", "", 1, {})], RolloutFailed),
        ([failing("r1", False), ReplicaReport("r2", "", "", 0, {})], RolloutFailed),
    ],
)
def test_a_version_is_at_fault_only_if_no_replica_could_load_it(
    store: Store, found: list[ReplicaReport], kind: type[RolloutFailed]
) -> None:
    fleet = Fleet(store, UNSIGNED, "test", 5.0)
    config = fleet.change({}, "test", always=True)
    for report in found:
        fleet.put_report(report)
    with pytest.raises(RolloutFailed, match="replica r1: it failed") as failed:
        await_config(fleet, config, "MLP")
    assert type(failed.value) is kind


def test_replicas_that_still_load_what_another_could_not_are_waited_for(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = Fleet(store, UNSIGNED, "test", 5.0)
    config = fleet.change({}, "test", always=True)
    fleet.put_report(failing("r1", True))
    fleet.put_report(ReplicaReport("r2", "", "", 0, {}))
    looks: list[float] = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        fleet.put_report(ReplicaReport("r2", "", "", 1, {}))

    monkeypatch.setattr(time, "sleep", sleep)
    with pytest.raises(RolloutFailed) as failed:
        await_config(fleet, config, "MLP")
    assert (type(failed.value), len(looks)) == (RolloutFailed, 1)


def test_two_replicas_that_report_one_address_are_refused_before_anything_is_written(store: Store) -> None:
    fleet = Fleet(store, UNSIGNED, "test", 5.0)
    fleet.put_report(ReplicaReport("r1", "http://127.0.0.1:8501", "127.0.0.1:8500", 0, {}))
    fleet.put_report(ReplicaReport("r2", "http://10.0.0.2:8501", "10.0.0.2:8500", 0, {}))
    require_replicas(fleet)
    fleet.put_report(ReplicaReport("r3", "http://127.0.0.1:8501", "127.0.0.1:8510", 0, {}))
    with pytest.raises(InvalidSettings, match=r"r1 and r3 .* 127\.0\.0\.1:8501, .* SLIPWAY_ADVERTISE_HOST"):
        require_replicas(fleet)
    cast(MemoryStore, store).backdate(keys.replica_key("test", "r1"), 1000)
    require_replicas(fleet)


def test_a_replica_that_is_gone_is_forgotten_and_one_that_lives_is_not(store: Store) -> None:
    fleet = Fleet(store, UNSIGNED, "test", 5.0)
    fleet.put_report(ReplicaReport("r1", "", "", 0, {}))
    with pytest.raises(InvalidInput, match=r"r1 .* still reports"):
        replicas.forget_replica(fleet, "r1")
    with pytest.raises(NotFound, match=r"no replica 'r2'\. It has: r1"):
        replicas.forget_replica(fleet, "r2")
    cast(MemoryStore, store).backdate(keys.replica_key("test", "r1"), 1000)
    replicas.forget_replica(fleet, "r1")
    assert replicas.reports(fleet) == []

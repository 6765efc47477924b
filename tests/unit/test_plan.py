"""A rollout is decided before anything is done."""

from tasks.fleet import FleetConfig, serving_entry, with_entries
from tasks.plan import Copy, Endpoint, ReplicaPlan, Source, live_version, plan_replica, plan_rollout, stage_entries
from tasks.protos import ModelConfig, ModelServerConfig
from tasks.records import Strategy


def serving(*versions: int, **labels: int) -> FleetConfig:
    entry = serving_entry("MLP", "s3://b/models/MLP", versions, labels)
    return FleetConfig(5, with_entries(ModelServerConfig(), {"MLP": entry}))


NOTHING = FleetConfig(0, ModelServerConfig())


def test_a_candidate_is_asked_under_its_own_name_before_it_takes_the_models() -> None:
    plan = plan_rollout(serving(6), "MLP", 7, "candidate")
    assert [s.endpoint for s in plan.stages] == [Endpoint("MLP-candidate"), Endpoint("MLP")]
    trial, live = plan.changes
    assert (trial.loads, trial.unloads) == (("MLP-candidate 7",), ())
    assert (live.loads, live.unloads) == (("MLP 7",), ("MLP 6", "MLP-candidate 7"))
    assert sorted(live.copies) == ["MLP 6", "MLP 7", "MLP-candidate 7"]


def test_a_models_first_version_is_a_candidate_too() -> None:
    trial, live = plan_rollout(NOTHING, "MLP", 1, "candidate").changes
    assert trial.loads == ("MLP-candidate 1",)
    assert (live.loads, live.unloads) == (("MLP 1",), ("MLP-candidate 1",))


def test_a_candidate_takes_the_label_that_clients_ask_for_too() -> None:
    plan = plan_rollout(serving(5, 6, stable=6), "MLP", 7, "candidate")
    assert plan.changes[1].relabels == ("MLP stable: 6 → 7",)
    assert plan.changes[1].unloads == ("MLP 5", "MLP 6", "MLP-candidate 7")


def test_with_labels_stable_moves_only_after_canary_was_asked_and_the_version_before_stays_loaded() -> None:
    plan = plan_rollout(serving(5, 6, stable=6), "MLP", 7, "labels")
    assert [s.endpoint for s in plan.stages] == [Endpoint("MLP", "canary"), Endpoint("MLP", "stable")]
    canary, stable = plan.changes
    assert (canary.loads, canary.unloads, canary.relabels) == (("MLP 7",), ("MLP 5",), ("MLP canary: none → 7",))
    assert (stable.loads, stable.unloads) == ((), ())
    assert stable.relabels == ("MLP canary: 7 → none", "MLP stable: 6 → 7")


def test_with_labels_the_version_that_was_served_without_one_is_stable() -> None:
    canary, _ = plan_rollout(serving(6), "MLP", 7, "labels").changes
    assert canary.relabels == ("MLP canary: none → 7", "MLP stable: none → 6")


def test_with_labels_a_models_first_version_bears_canary_alone() -> None:
    canary, stable = plan_rollout(NOTHING, "MLP", 1, "labels").changes
    assert canary.relabels == ("MLP canary: none → 1",)
    assert stable.relabels == ("MLP canary: 1 → none", "MLP stable: none → 1")


def test_the_entries_of_a_stage_are_what_the_plan_says() -> None:
    live = plan_rollout(serving(6), "MLP", 7, "candidate").stages[1]
    entries = stage_entries(live, "s3://b/models/MLP")
    assert entries == {"MLP": serving_entry("MLP", "s3://b/models/MLP", [7], {}), "MLP-candidate": None}


SOURCES = {
    Copy(name, version): Source("MLP", 10 ** (version - 4))
    for name in ("MLP", "MLP-candidate")
    for version in (5, 6, 7)
}


def on_a_replica(serves: FleetConfig, strategy: Strategy = "candidate") -> ReplicaPlan:
    current = serving(6)
    return plan_replica(plan_rollout(current, "MLP", 7, strategy), current, "r1", serves, SOURCES)


def test_a_replica_that_keeps_up_does_what_the_plan_says_and_holds_three_copies_at_its_peak() -> None:
    found = on_a_replica(serving(6))
    assert found.changes == plan_rollout(serving(6), "MLP", 7, "candidate").changes
    assert found.memory == (100 + 1000, 100 + 1000 + 1000)
    assert found.downloads == 1000


def test_with_labels_a_replica_holds_two_copies() -> None:
    assert on_a_replica(serving(6), "labels").memory == (1100, 1100)


def test_a_replica_that_lags_behind_catches_up_in_the_first_stage() -> None:
    behind = FleetConfig(4, serving(5).models)
    found = on_a_replica(behind)
    assert (found.config, found.downloads) == (4, 1100)
    assert (found.changes[0].loads, found.changes[0].unloads) == (("MLP 6", "MLP-candidate 7"), ("MLP 5",))
    assert found.changes[1:] == plan_rollout(serving(6), "MLP", 7, "candidate").changes[1:]


def test_what_slipway_did_not_write_is_named_and_not_counted() -> None:
    latest = ModelConfig(name="latest", base_path="/srv/latest")
    pinned = serving_entry("pinned", "/srv/pinned", [3], {})
    beside = FleetConfig(5, with_entries(serving(6).models, {"latest": latest, "pinned": pinned}))
    found = plan_replica(plan_rollout(beside, "MLP", 7, "candidate"), beside, "r1", beside, SOURCES)
    assert found.uncounted == ("latest", "pinned 3")
    assert found.memory == (1100, 2100)


def test_clients_meet_the_stable_version_or_else_the_highest() -> None:
    assert live_version(serving(5, 6, stable=5), "MLP") == 5
    assert live_version(serving(5, 6), "MLP") == 6
    assert live_version(NOTHING, "MLP") is None

"""A rollout is decided before anything is done."""

import pytest

from tasks.delivery import strategies
from tasks.delivery.plan import (
    Copy,
    ReplicaPlan,
    Source,
    entry_to_restore,
    plan_replica,
    plan_rollout,
    routes_table,
    stage_entries,
)
from tasks.delivery.stages import Stage, Start, final, trial
from tasks.errors import InvalidInput
from tasks.fleet.config import FleetConfig, live_version, serving_entry, with_entries
from tasks.serving.client import Target
from tasks.wire.protos import ModelConfig, ModelServerConfig


def serving(*versions: int, **labels: int) -> FleetConfig:
    entry = serving_entry("MLP", "s3://b/models/MLP", versions, labels)
    return FleetConfig(5, with_entries(ModelServerConfig(), {"MLP": entry}))


NOTHING = FleetConfig(0, ModelServerConfig())


def test_a_candidate_is_asked_under_its_own_name_before_it_takes_the_models() -> None:
    plan = plan_rollout(serving(6), "MLP", 7, "blue-green")
    assert [s.target for s in plan.stages] == [Target("MLP-candidate"), Target("MLP")]
    trial, live = plan.changes
    assert (trial.loads, trial.unloads) == (("MLP-candidate 7",), ())
    assert (live.loads, live.unloads) == (("MLP 7",), ("MLP 6", "MLP-candidate 7"))
    assert sorted(live.copies) == ["MLP 6", "MLP 7", "MLP-candidate 7"]


def test_a_models_first_version_is_a_candidate_too() -> None:
    trial, live = plan_rollout(NOTHING, "MLP", 1, "blue-green").changes
    assert trial.loads == ("MLP-candidate 1",)
    assert (live.loads, live.unloads) == (("MLP 1",), ("MLP-candidate 1",))


def test_a_candidate_takes_the_label_that_clients_ask_for_too() -> None:
    trial, live = plan_rollout(serving(5, 6, stable=6), "MLP", 7, "blue-green").changes
    assert (trial.loads, trial.unloads, trial.relabels) == (("MLP-candidate 7",), ("MLP 5",), ())
    assert live.relabels == ("MLP stable: 6 → 7",)
    assert live.unloads == ("MLP 6", "MLP-candidate 7")


def test_with_labels_stable_moves_and_the_version_before_stays_loaded() -> None:
    plan = plan_rollout(serving(5, 6, stable=6), "MLP", 7, "labels")
    assert [s.target for s in plan.stages] == [Target("MLP-candidate"), Target("MLP", label="stable")]
    trial, live = plan.changes
    assert (trial.loads, trial.unloads, trial.relabels) == (("MLP-candidate 7",), ("MLP 5",), ())
    assert (live.loads, live.unloads) == (("MLP 7",), ("MLP-candidate 7",))
    assert live.relabels == ("MLP stable: 6 → 7",)


def test_with_labels_the_first_version_gets_the_label_once_it_was_tried() -> None:
    for before, now in ((serving(6), 7), (NOTHING, 1)):
        trial, live = plan_rollout(before, "MLP", now, "labels").changes
        assert (trial.relabels, live.relabels) == ((), (f"MLP stable: none → {now}",))


def test_going_back_to_a_loaded_version_moves_the_label_and_unloads_what_is_above() -> None:
    plan = plan_rollout(serving(5, 6, stable=6), "MLP", 5, "labels")
    assert [s.target for s in plan.stages] == [Target("MLP", version=5), Target("MLP", label="stable")]
    trial, live = plan.changes
    assert (trial.loads, trial.unloads, trial.relabels) == ((), (), ())
    assert (live.loads, live.unloads, live.relabels) == ((), ("MLP 6",), ("MLP stable: 6 → 5",))


def test_a_plan_says_which_version_answers_at_each_place_and_when() -> None:
    plan = plan_rollout(serving(5, 6, stable=6), "MLP", 7, "labels")
    assert {str(route.target): route.answers for route in plan.routes} == {
        "MLP": (6, 6, 7),
        "MLP/labels/stable": (6, 6, 7),
        "MLP/versions/5": (5, None, None),
        "MLP/versions/6": (6, 6, 6),
        "MLP/versions/7": (None, None, 7),
        "MLP-candidate": (None, 7, None),
        "MLP-candidate/versions/7": (None, 7, None),
    }


def test_what_is_loaded_above_the_stable_version_is_not_restored() -> None:
    on_trial = serving(5, 6, stable=5, canary=6)
    assert entry_to_restore(on_trial, "MLP") == serving_entry("MLP", "s3://b/models/MLP", [5], {"stable": 5})
    whole = serving(5, 6, stable=6)
    assert entry_to_restore(whole, "MLP") == whole.entry("MLP")
    latest = ModelConfig(name="MLP", base_path="/srv/latest", version_labels={"stable": 3})
    theirs = FleetConfig(5, with_entries(ModelServerConfig(), {"MLP": latest}))
    assert entry_to_restore(theirs, "MLP") == latest
    mistaken = serving(5, 6, stable=4)
    assert entry_to_restore(mistaken, "MLP") == mistaken.entry("MLP")
    assert [s.name for s in plan_rollout(mistaken, "MLP", 7, "labels").stages[0].servings] == ["MLP-candidate"]
    assert entry_to_restore(NOTHING, "MLP") is None


def test_the_entries_of_a_stage_are_what_the_plan_says() -> None:
    live = plan_rollout(serving(6), "MLP", 7, "blue-green").stages[1]
    entries = stage_entries(live, "s3://b/models/MLP")
    assert entries == {"MLP": serving_entry("MLP", "s3://b/models/MLP", [7], {}), "MLP-candidate": None}


SOURCES = {
    Copy(name, version): Source("MLP", 10 ** (version - 4))
    for name in ("MLP", "MLP-candidate")
    for version in (5, 6, 7)
}


SIX = serving(6)


def test_a_plan_takes_the_old_name_of_a_strategy_and_refuses_unknown_ones() -> None:
    plan = plan_rollout(serving(6), "MLP", 7, "candidate")
    assert plan == plan_rollout(serving(6), "MLP", 7, "blue-green")
    with pytest.raises(InvalidInput, match="'canary' is not known: use 'blue-green'"):
        plan_rollout(serving(6), "MLP", 7, "canary")


def on_a_replica(serves: FleetConfig, strategy: str = "blue-green", current: FleetConfig = SIX) -> ReplicaPlan:
    return plan_replica(plan_rollout(current, "MLP", 7, strategy), current, "r1", serves, SOURCES)


def test_a_replica_that_keeps_up_holds_three_copies_at_its_peak() -> None:
    found = on_a_replica(serving(6))
    assert found.changes == plan_rollout(serving(6), "MLP", 7, "blue-green").changes
    assert found.memory == (100 + 1000, 100 + 1000 + 1000)
    assert found.downloads == 1000


def test_with_labels_a_replica_holds_three_copies_at_its_peak() -> None:
    assert on_a_replica(serving(6), "labels").memory == (1100, 2100)
    assert on_a_replica(serving(5, 6, stable=6), "labels", serving(5, 6, stable=6)).memory == (1110, 2100)


def test_a_replica_that_lags_behind_catches_up_in_the_first_stage() -> None:
    behind = FleetConfig(4, serving(5).models)
    found = on_a_replica(behind)
    assert (found.config, found.downloads) == (4, 1100)
    assert (found.changes[0].loads, found.changes[0].unloads) == (("MLP 6", "MLP-candidate 7"), ("MLP 5",))
    assert found.changes[1:] == plan_rollout(serving(6), "MLP", 7, "blue-green").changes[1:]


def test_a_stage_for_some_replicas_changes_nothing_on_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def one_first(start: Start) -> tuple[Stage, ...]:
        return trial(start, start.alone), final(start, start.alone, "first", only=("r1",)), final(start, start.alone)

    monkeypatch.setattr(strategies, "strategy_named", lambda _: one_first)
    plan = plan_rollout(SIX, "MLP", 7, "blue-green")
    loads = {name: [c.loads for c in plan_replica(plan, SIX, name, SIX, SOURCES).changes] for name in ("r1", "r2")}
    assert loads == {
        "r1": [("MLP-candidate 7",), ("MLP 7",), ()],
        "r2": [("MLP-candidate 7",), (), ("MLP 7",)],
    }
    assert routes_table(plan)[0] == ["asked at", "now", "stage trial", "stage first on r1", "stage final"]
    first = list(plan.stages[1].sentences(7, ["1 signature"]))
    assert first == ["Serve version 7 as MLP on r1, and wait until that is so.", "Ask MLP on r1: 1 signature."]


def test_what_slipway_did_not_write_is_named_and_not_counted() -> None:
    latest = ModelConfig(name="latest", base_path="/srv/latest")
    pinned = serving_entry("pinned", "/srv/pinned", [3], {})
    beside = FleetConfig(5, with_entries(serving(6).models, {"latest": latest, "pinned": pinned}))
    found = plan_replica(plan_rollout(beside, "MLP", 7, "blue-green"), beside, "r1", beside, SOURCES)
    assert found.uncounted == ("latest", "pinned 3")
    assert found.memory == (1100, 2100)


def test_clients_meet_the_stable_version_or_else_the_highest() -> None:
    assert live_version(serving(5, 6, stable=5), "MLP") == 5
    assert live_version(serving(5, 6), "MLP") == 6
    assert live_version(NOTHING, "MLP") is None

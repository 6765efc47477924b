"""A version is tried, validated and switched to, or its rollout is aborted: real flows, store and replica."""

import itertools
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flows.reconcile import reconcile
from flows.release import release, release_saved_model
from flows.rollback import rollback
from flows.rollout import rollout
from tasks.delivery.rollout import accept, begin_rollout, make_plan, serve
from tasks.errors import NoReplica, NotFound, RolloutConflict, RolloutFailed
from tasks.fleet import replicas
from tasks.fleet.config import Fleet, serving_entry
from tasks.policy import Policy
from tasks.records import Training
from tasks.settings import Settings, settings
from tasks.store import keys
from tasks.versions import catalog
from tasks.versions.policies import set_policy
from tasks.versions.publish import claim_number
from tests.helpers.clients import Client
from tests.helpers.local import until
from tests.helpers.models import publish_affine
from tests.helpers.policies import POLICY
from tests.helpers.replica import LocalReplica
from tests.helpers.versions import publish_version

pytestmark = pytest.mark.usefixtures("flows")

PLAIN, STABLE = "/v1/models/affine", "/v1/models/affine/labels/stable"


def soak_for(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPWAY_SOAK", str(seconds))
    settings.cache_clear()


def state(fleet: Fleet, version: int) -> str:
    return catalog.version(fleet.store, "affine", version).state


def in_turn(client: Client) -> dict[str, list[int]]:
    """Which `affine` answered at each place, one after the other."""
    return {place: [v for v, _ in itertools.groupby(found)] for place, found in client.variants_at.items()}


def names(fleet: Fleet) -> list[str]:
    return [c.name for c in fleet.newest().models.model_config_list.config]


def test_clients_move_from_one_accepted_version_to_the_next_and_no_request_fails(
    fleet: Fleet, replica: LocalReplica, small_models: Path
) -> None:
    for number in (1, 2):
        publish_affine(fleet, small_models, number)
    assert rollout("affine", 1, fleet.name).passed
    set_policy(fleet.store, settings(), "affine", {"slowdown": 50, "soak": 7}, "this test")
    with Client(replica).hammering() as client:
        report = rollout("affine", 2, fleet.name, policy={"soak": 8})
    assert report.passed
    assert {f.asked["protocol"] for f in report.findings} == {"REST", "gRPC"}
    assert client.failures == []
    assert in_turn(client) == {PLAIN: [1, 2]}
    assert set(client.answers) == {(1, 1), (None, 1), (2, 2), (None, 2)}
    assert (state(fleet, 1), state(fleet, 2), names(fleet)) == ("accepted", "accepted", ["affine"])
    assert fleet.rollout_under_way("affine") is None
    rules = [verdict.policy for n in (1, 2) if (verdict := catalog.verdict(fleet.store, "affine", n)) is not None]
    mine = Policy.of(settings())
    assert rules == [mine, mine.changed({"slowdown": 50, "soak": 8}, "this test")]


def test_a_version_that_answers_otherwise_than_trained_is_never_met_by_clients(
    fleet: Fleet, replica: LocalReplica, small_models: Path
) -> None:
    publish_affine(fleet, small_models, 1)
    wrong = publish_affine(fleet, small_models, 2, golden=3)
    rollout("affine", 1, fleet.name)
    with Client(replica).hammering() as client, pytest.raises(RolloutFailed) as failed:
        rollout("affine", wrong, fleet.name)
    assert str(failed.value).startswith("The rollout of affine version 2 was aborted: ")
    assert "output 'y' differs in 3 of 3 values" in str(failed.value)
    assert str(failed.value).endswith("Version 1 serves as before.")
    assert (set(client.answers), client.failures) == ({(1, 1), (None, 1)}, [])
    assert (state(fleet, wrong), names(fleet)) == ("rejected", ["affine"])
    assert fleet.rollout_under_way("affine") is None


def test_a_first_version_that_is_wrong_leaves_nothing_served(
    fleet: Fleet, replica: LocalReplica, small_models: Path
) -> None:
    wrong = publish_affine(fleet, small_models, 1, golden=3)
    with pytest.raises(RolloutFailed, match="No version of affine is served, as before"):
        rollout("affine", wrong, fleet.name)
    assert names(fleet) == []


def test_with_labels_no_url_answers_with_a_version_on_trial(
    fleet: Fleet, replica: LocalReplica, small_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soak_for(1, monkeypatch)
    for number in (1, 2):
        publish_affine(fleet, small_models, number)
    wrong = publish_affine(fleet, small_models, 3, golden=1)
    rollout("affine", 1, fleet.name, "labels")
    with Client(replica, labels=["stable"]).hammering() as client:
        rollout("affine", 2, fleet.name, "labels")
        entry = fleet.newest().entry("affine")
        with pytest.raises(RolloutFailed, match=r"served as affine-candidate: .* Version 2 serves as before"):
            rollout("affine", wrong, fleet.name, "labels")
    assert entry == serving_entry("affine", fleet.base_path("affine"), [1, 2], {"stable": 2})
    assert fleet.newest().entry("affine") == entry
    assert (client.failures, in_turn(client)) == ([], {PLAIN: [1, 2], STABLE: [1, 2]})
    assert set(client.answers) == {(1, 1), (None, 1), (2, 2), (None, 2)}
    assert [s.serves for s in replicas.replica_states(fleet)] == ["affine 2 (stable), affine 1"]


def test_the_plain_url_and_stable_are_served_through_every_rollback_and_rollout(
    fleet: Fleet, replica: LocalReplica, small_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soak_for(0, monkeypatch)
    for number in (1, 2, 3):
        publish_affine(fleet, small_models, number)
        rollout("affine", number, fleet.name, "labels")
    before = fleet.newest().number
    with Client(replica, labels=["stable"]).hammering() as client:
        assert rollback("affine", fleet=fleet.name).version == 2
        moved = [fleet.read(number).versions("affine") for number in range(before, fleet.newest().number + 1)]
        client.await_answers()
        assert rollback("affine", fleet=fleet.name).version == 1
        client.await_answers()
        rollout("affine", 3, fleet.name)
        client.await_answers()
    assert moved == [[2, 3], [2]], "nothing was loaded, and what is gone back from is unloaded"
    assert fleet.newest().entry("affine") == serving_entry("affine", fleet.base_path("affine"), [3], {"stable": 3})
    assert (client.failures, in_turn(client)) == ([], {PLAIN: [3, 2, 1, 3], STABLE: [3, 2, 1, 3]})


@pytest.mark.parametrize("accepted", [True, False])
def test_a_dead_rollout_with_its_trial_under_the_models_name_is_finished_or_undone(
    fleet: Fleet, replica: LocalReplica, small_models: Path, monkeypatch: pytest.MonkeyPatch, accepted: bool
) -> None:
    """As Slipway 0.2.0 left it: 3 was gone back from and stayed loaded, 2 is on trial under a label."""
    soak_for(0, monkeypatch)
    for number in (1, 2, 3):
        publish_affine(fleet, small_models, number)
    rollout("affine", 1, fleet.name, "labels")
    path = fleet.base_path("affine")
    fleet.change({"affine": serving_entry("affine", path, [1, 3], {"stable": 1})}, "a rollback")
    record = begin_rollout(fleet, "affine", 2, "labels", "a run of Slipway 0.2.0", POLICY)
    fleet.change({"affine": serving_entry("affine", path, [1, 2], {"stable": 1, "canary": 2})}, "its trial")
    if accepted:
        accept(fleet, record)
    monkeypatch.setattr("tasks.delivery.recover.is_gone", lambda process: process == record.process)
    (said,) = reconcile(fleet.name)
    assert said.endswith("had been accepted: it serves." if accepted else "Version 1 serves as before.")
    whole = serving_entry("affine", path, [1, 2] if accepted else [1], {"stable": 2 if accepted else 1})
    assert fleet.newest().entry("affine") == whole
    with Client(replica, labels=["stable"]).hammering() as client:
        client.await_answers()
    assert (client.failures, client.variants) == ([], {2 if accepted else 1})


def test_rolling_back_serves_the_accepted_version_before_and_skips_rejected_ones(
    fleet: Fleet, replica: LocalReplica, small_models: Path
) -> None:
    publish_affine(fleet, small_models, 1)
    rollout("affine", 1, fleet.name)
    publish_affine(fleet, small_models, 2, golden=3)
    with pytest.raises(RolloutFailed):
        rollout("affine", 2, fleet.name)
    publish_affine(fleet, small_models, 3)
    rollout("affine", 3, fleet.name)
    assert rollback("affine", fleet=fleet.name).version == 1
    assert fleet.newest().versions("affine") == [1]
    with pytest.raises(NotFound, match="nothing to go back to"):
        rollback("affine", fleet=fleet.name)


def test_a_rollout_that_is_under_way_keeps_others_out(fleet: Fleet, small_models: Path) -> None:
    publish_affine(fleet, small_models, 1)
    begin_rollout(fleet, "affine", 1, "blue-green", "another run", POLICY)
    with pytest.raises(RolloutConflict, match="version 1 by run another run"):
        rollout("affine", 1, fleet.name, new_fleet=True)


def test_a_fleet_without_replicas_is_refused_at_once_unless_it_is_new(
    fleet: Fleet, small_models: Path, tmp_path: Path, store_settings: Settings
) -> None:
    publish_affine(fleet, small_models, 1)
    before = fleet.store.keys("")
    for begin in (
        lambda: rollout("affine", 1, fleet.name, "labels"),
        lambda: rollback("affine", fleet=fleet.name),
        lambda: release("affine", fleet=fleet.name),
        lambda: release_saved_model("affine", str(small_models / "affine" / "2"), fleet=fleet.name),
    ):
        with pytest.raises(NoReplica, match="Fleet 'test' has no replica"):
            begin()
    assert fleet.store.keys("") == before
    replica = LocalReplica(tmp_path, store_settings, fleet=fleet.name)

    def start_once_it_is_wanted() -> None:
        until(lambda: fleet.newest().number, "the rollout waits for the first replica")
        replica.start()

    try:
        with ThreadPoolExecutor() as pool:
            starting = pool.submit(start_once_it_is_wanted)
            assert rollout("affine", 1, fleet.name, new_fleet=True).passed
            starting.result()
    finally:
        replica.end()


def test_a_rollout_whose_run_died_is_taken_back_and_that_run_can_change_nothing(
    fleet: Fleet, replica: LocalReplica, small_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2):
        publish_affine(fleet, small_models, number)
    rollout("affine", 1, fleet.name)
    record = begin_rollout(fleet, "affine", 2, "blue-green", "a run that will be taken for dead", POLICY)
    trial, live = make_plan(fleet, record).stages
    replicas.await_config(fleet, serve(fleet, record, trial), "affine")
    monkeypatch.setattr("tasks.delivery.recover.is_gone", lambda process: process == record.process)
    assert reconcile(fleet.name) == [
        "The rollout of affine version 2, which the dead run a run that will be taken for dead was rolling out, was "
        "aborted. Version 1 serves as before."
    ]
    assert (names(fleet), fleet.newest().versions("affine")) == (["affine"], [1])
    with pytest.raises(RolloutConflict, match="taken for dead"):
        serve(fleet, record, live)
    assert state(fleet, 2) == "published"


def test_another_models_version_that_does_not_load_delays_a_rollout_and_fails_none(
    fleet: Fleet, replica: LocalReplica, small_models: Path, tmp_path: Path
) -> None:
    publish_affine(fleet, small_models, 1)
    broken = shutil.copytree(small_models / "affine" / "1", tmp_path / "broken")
    (broken / "variables" / "variables.index").write_bytes(b"cut off")
    publish_version(
        fleet.store, fleet.trust, "other", broken, signatures={}, golden=None, training=Training(), run="test"
    )

    def take_the_other_back() -> None:
        until(lambda: fleet.newest().entry("affine-candidate"), "the rollout is under way")
        begun = fleet.newest().number
        until(lambda: any((r.error_config or 0) >= begun for r in replicas.reports(fleet)), "it is held up")
        fleet.change({"other-candidate": None}, "another rollout")

    fleet.change(
        {"other-candidate": serving_entry("other-candidate", fleet.base_path("other"), [1], {})}, "another rollout"
    )
    with ThreadPoolExecutor() as pool:
        other = pool.submit(take_the_other_back)
        assert rollout("affine", 1, fleet.name).passed
        other.result()


def test_reconcile_clears_what_a_publisher_left_that_died_long_ago(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = claim_number(fleet.store, "affine", "a run that died")
    fleet.store.put(f"{keys.version_prefix('affine', number)}saved_model.pb", b"cut off")
    assert reconcile(fleet.name) == []
    monkeypatch.setenv("SLIPWAY_CLAIM_GRACE", "0.001")
    settings.cache_clear()
    said = [f"affine: number {number} came to nothing, and what was left is deleted."]
    until(lambda: reconcile(fleet.name) == said, "the number is closed")
    assert fleet.store.keys(keys.version_prefix("affine", number)) == []
    assert claim_number(fleet.store, "affine", "a later run") == number + 1

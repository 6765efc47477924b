"""The steps of a rollout over a store that loses answers or is away for a while."""

import contextlib
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tasks.delivery.recover import abort, drop_orphans, find_dead_rollouts, recover_rollout
from tasks.delivery.rollout import accept, begin_rollout, decide, end_rollout, longest, make_plan, serve
from tasks.errors import (
    DeadlineExceeded,
    InvalidInput,
    RolloutConflict,
    RolloutFailed,
    ServingUnreachable,
    StoreUnreachable,
    ValidationFailed,
    VersionFailed,
)
from tasks.fleet.config import Fleet, serving_entry
from tasks.policy import Policy
from tasks.processes import this_process
from tasks.records import ReplicaReport, RolloutRecord, Training, Verdict, now
from tasks.store import keys
from tasks.store.base import Store
from tasks.versions import catalog
from tests.helpers.policies import policy
from tests.helpers.saved_models import write_saved_model
from tests.helpers.stores import WatchedStore
from tests.helpers.versions import UNSIGNED, publish_version

DEADLINE = 5.0  # seconds that the fleet may take
IN_TIME = policy(load_deadline=DEADLINE)


class FlakyStore(WatchedStore):
    """A store that is away for some of its puts and reads."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, self._may_be_away)
        self.away: list[bool] = []

    def _may_be_away(self, method: str, _: str) -> None:
        if method in ("put", "stream") and self.away and self.away.pop(0):
            raise StoreUnreachable("The store does not answer.")


@pytest.fixture
def flaky(store: Store) -> FlakyStore:
    return FlakyStore(store)


@pytest.fixture
def flaky_fleet(flaky: FlakyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """A fleet whose one replica has always reached its newest config; version 1 of `affine` is published."""
    folder = write_saved_model(tmp_path / "1")
    publish_version(flaky, UNSIGNED, "affine", folder, signatures={}, golden=None, training=Training(), run="test")
    report = ReplicaReport("r1", "http://127.0.0.1:1", "127.0.0.1:1", config=1000, models={})
    flaky.put(keys.replica_key("test", "r1"), report.to_json())
    monkeypatch.setattr("tasks.fleet.lost.require_whole", lambda *_: None)  # it has reached what is yet to be written
    return Fleet(flaky, UNSIGNED, "test", DEADLINE)


def begun(flaky_fleet: Fleet, rule: Policy = IN_TIME) -> RolloutRecord:
    return begin_rollout(flaky_fleet, "affine", 1, "blue-green", "this run", rule)


def test_a_rollout_begins_with_a_strategy_by_its_old_name_too(flaky_fleet: Fleet) -> None:
    record = begin_rollout(flaky_fleet, "affine", 1, "candidate", "this run", IN_TIME)
    assert record.strategy == "blue-green"
    assert flaky_fleet.rollout_under_way("affine") == record


def test_a_rollout_has_the_time_that_its_policy_gives_it(flaky_fleet: Fleet) -> None:
    record = begun(flaky_fleet, policy(load_deadline=1000))
    assert record.patience == 5000
    assert flaky_fleet.rollout_under_way("affine") == record


@pytest.mark.parametrize("accepted", [True, False])
def test_whoever_finds_a_rollout_dead_goes_by_the_policy_that_it_began_with(
    flaky_fleet: Fleet, flaky: FlakyStore, accepted: bool
) -> None:
    behind = ReplicaReport("r2", "http://127.0.0.1:1", "127.0.0.1:1", config=0, models={})
    flaky.put(keys.replica_key("test", "r2"), behind.to_json())
    record = begun(flaky_fleet, policy(quorum=0.5, load_deadline=60))
    serve(flaky_fleet, record, make_plan(flaky_fleet, record).stages[0])
    if accepted:
        accept(flaky_fleet, record)
    flaky_fleet.deadline = 0.1  # of whoever finds it; its quorum is all replicas
    assert ("it serves" in recover_rollout(flaky_fleet, record).sentence) is accepted
    verdict = catalog.verdict(flaky, "affine", 1)
    assert verdict is None if not accepted else verdict is not None and verdict.policy == record.policy


def test_a_dead_rollout_is_recovered_without_the_replicas_that_are_no_longer_asked_for(
    flaky_fleet: Fleet, flaky: FlakyStore
) -> None:
    behind = ReplicaReport("r2", "http://127.0.0.1:1", "127.0.0.1:1", config=0, models={})
    flaky.put(keys.replica_key("test", "r2"), behind.to_json())
    record = begun(flaky_fleet, policy(load_deadline=0.5))
    with pytest.raises(DeadlineExceeded, match="r2 is at config 0"):
        recover_rollout(flaky_fleet, record)
    flaky_fleet.quorum = 0.5
    assert recover_rollout(flaky_fleet, record).outcome == "aborted"


def test_a_rollout_by_an_unknown_strategy_is_refused_before_anything_is_written(flaky_fleet: Fleet) -> None:
    with pytest.raises(InvalidInput, match="'canary' is not known: use 'blue-green'"):
        begin_rollout(flaky_fleet, "affine", 1, "canary", "this run", IN_TIME)
    assert flaky_fleet.rollout_under_way("affine") is None


def test_a_second_rollout_within_one_run_is_kept_out_too(flaky_fleet: Fleet, tmp_path: Path) -> None:
    folder = write_saved_model(tmp_path / "2")
    publish_version(
        flaky_fleet.store, UNSIGNED, "affine", folder, signatures={}, golden=None, training=Training(), run="test"
    )
    begun(flaky_fleet)
    with pytest.raises(RolloutConflict, match="version 1 by run this run"):
        begin_rollout(flaky_fleet, "affine", 2, "blue-green", "this run", IN_TIME)


def test_a_run_whose_beginning_broke_off_begins_again_and_keeps_others_out(
    flaky_fleet: Fleet, flaky: FlakyStore
) -> None:
    flaky.away = [False, True]  # not for the manifest, but for the record with what was served before
    with pytest.raises(StoreUnreachable):
        begun(flaky_fleet)
    record = begun(flaky_fleet, policy(load_deadline=DEADLINE + 1))  # as if a second had passed
    assert flaky_fleet.rollout_under_way("affine") == record
    assert record.previous_config == 0
    with pytest.raises(RolloutConflict, match="by run this run"):
        begin_rollout(flaky_fleet, "affine", 1, "blue-green", "another run", IN_TIME)


def test_the_way_back_waits_for_a_store_that_is_away(flaky_fleet: Fleet, flaky: FlakyStore) -> None:
    record = begun(flaky_fleet)
    trial, _ = make_plan(flaky_fleet, record).stages
    serve(flaky_fleet, record, trial)
    flaky.away = [True, False, True, True]
    end = abort(flaky_fleet, record, ValidationFailed("It answers otherwise."))
    assert end.sentence == (
        "The rollout of affine version 1 was aborted: It answers otherwise. No version of affine is served, as before."
    )
    assert flaky_fleet.rollout_under_way("affine") is None
    assert flaky_fleet.newest().entry("affine-candidate") is None
    assert catalog.version(flaky, "affine", 1).state == "rejected"


def test_the_way_back_holds_no_replica_back(flaky_fleet: Fleet) -> None:
    record = begun(flaky_fleet)
    accept(flaky_fleet, record)
    final = make_plan(flaky_fleet, record).stages[-1]
    held = serve(flaky_fleet, record, replace(final, only=("r1",)))
    assert flaky_fleet.seen_by("r2", held).entry("affine") is None
    abort(flaky_fleet, record, ValidationFailed("It answers otherwise."))
    newest = flaky_fleet.newest()
    assert (newest.held, newest.entry("affine")) == ((), None)


def test_a_way_back_that_finds_no_store_leaves_the_record_for_whoever_comes_next(
    flaky_fleet: Fleet, flaky: FlakyStore
) -> None:
    record = begun(flaky_fleet, policy(load_deadline=0.5))
    flaky.away = [True] * 100
    end = abort(flaky_fleet, record, ValidationFailed("It answers otherwise."))
    assert (
        "Restoring what was served before failed too: The store does not answer. Run `slipway reconcile`"
        in end.sentence
    )
    assert end.outcome is None
    flaky.away = []
    assert flaky_fleet.rollout_under_way("affine") == record


@pytest.mark.parametrize("writes", range(4))
def test_a_way_back_that_dies_after_a_write_is_never_taken_for_a_rollout_to_finish(
    flaky_fleet: Fleet, flaky: FlakyStore, writes: int
) -> None:
    """The version was accepted, and fails once it is live: from the first write of the way back on it is gone."""

    class Died(BaseException):
        """As by a power cut."""

    def die(method: str, _: str) -> None:
        nonlocal writes
        writes -= method in ("put", "create", "delete_once")
        if writes < 0:
            raise Died

    record = begun(flaky_fleet)
    accept(flaky_fleet, record)
    serve(flaky_fleet, record, make_plan(flaky_fleet, record).stages[-1])
    begun_way_back = writes > 0
    with contextlib.suppress(Died):
        dying = Fleet(WatchedStore(flaky, die), UNSIGNED, "test", DEADLINE)
        abort(dying, record, ValidationFailed("It answers otherwise."))
    left = flaky_fleet.rollout_under_way("affine")
    if left is not None:
        end = recover_rollout(flaky_fleet, left)
        assert end.outcome == ("aborted" if begun_way_back else "finished")
        assert end.verdicts == (catalog.verdict(flaky, "affine", 1),)
    assert flaky_fleet.rollout_under_way("affine") is None
    assert flaky_fleet.newest().versions("affine") == ([] if begun_way_back else [1])
    assert catalog.version(flaky, "affine", 1).state == ("rejected" if begun_way_back else "accepted")


@pytest.mark.parametrize("accepted", [True, False])
def test_a_version_is_not_rejected_for_the_absence_of_a_server(
    flaky_fleet: Fleet, flaky: FlakyStore, accepted: bool
) -> None:
    record = begun(flaky_fleet)
    if accepted:
        accept(flaky_fleet, record)
    end = abort(flaky_fleet, record, ServingUnreachable("No model server answers."))
    assert catalog.version(flaky, "affine", 1).state == ("retired" if accepted else "published")
    assert end.outcome == "aborted"
    assert end.verdicts == ((catalog.verdict(flaky, "affine", 1),) if accepted else ())


def test_a_version_that_another_run_decided_about_is_not_decided_about_by_the_end_of_this_one(
    flaky_fleet: Fleet, flaky: FlakyStore
) -> None:
    catalog.decide(flaky, Verdict("affine", 1, "accepted", "by another", "another run"))
    end = recover_rollout(flaky_fleet, begun(flaky_fleet))
    assert (end.outcome, end.verdicts) == ("aborted", ())


def put_record(fleet: Fleet, model: str, **changed: object) -> None:
    """A rollout whose run is dead, as another release may have written it."""
    record = RolloutRecord(model, 1, "labels", "a dead run", this_process(), now() - timedelta(seconds=9))
    fields = json.loads(record.to_json()) | changed
    fleet.store.put(keys.rollout_key(fleet.name, model), json.dumps(fields).encode())


def test_a_dead_rollout_by_a_strategy_that_is_not_known_is_left_as_it_is_and_others_are_not(flaky_fleet: Fleet) -> None:
    put_record(flaky_fleet, "affine", strategy="shadow", previous_config=0)
    put_record(flaky_fleet, "torn", version="seven")
    put_record(flaky_fleet, "whole")
    before = flaky_fleet.store.get(keys.rollout_key("test", "affine"))
    affine, whole = [recover_rollout(flaky_fleet, record) for record in find_dead_rollouts(flaky_fleet)]
    assert "goes by strategy 'shadow', which is not known here (known: blue-green, labels" in affine.sentence
    assert whole.sentence.endswith("had changed nothing.")
    assert (affine.outcome, whole.outcome) == (None, None)
    assert flaky_fleet.store.get(keys.rollout_key("test", "affine")) == before
    assert flaky_fleet.rollout_under_way("whole") is None
    assert flaky_fleet.newest().number == 0
    with pytest.raises(RolloutConflict, match="by run a dead run"):
        begun(flaky_fleet)


def test_a_rollout_has_as_long_as_its_stages_take(flaky_fleet: Fleet) -> None:
    stages = make_plan(flaky_fleet, begun(flaky_fleet)).stages
    found = [longest(flaky_fleet, given) for given in ((), stages, stages * 2)]
    assert found == pytest.approx([5 * DEADLINE, 5 * DEADLINE, 9 * DEADLINE])
    soaked = [replace(stage, soak=20.0) for stage in stages]
    assert longest(flaky_fleet, soaked) == pytest.approx(5 * DEADLINE + 40)


def test_an_end_whose_answer_is_lost_leaves_the_rollout_that_began_since(flaky_fleet: Fleet, flaky: FlakyStore) -> None:
    record = begun(flaky_fleet)

    def lose_the_answer(method: str, key: str) -> None:
        if method == "delete_once":
            flaky.delete_once(key)
            begin_rollout(flaky_fleet, "affine", 1, "blue-green", "another run", IN_TIME)
            raise StoreUnreachable("The store does not answer.")

    end_rollout(Fleet(WatchedStore(flaky, lose_the_answer), UNSIGNED, "test", DEADLINE), record)
    other = flaky_fleet.rollout_under_way("affine")
    assert other is not None
    assert other.run == "another run"


@pytest.mark.parametrize(
    ("cause", "state"),
    [
        (ValidationFailed("It answers wrongly."), "rejected"),
        (VersionFailed("No replica could load it."), "rejected"),
        (RolloutFailed("Replica r1: its disk is full."), "published"),
        (DeadlineExceeded("It took too long."), "published"),
        (KeyboardInterrupt(), "published"),
    ],
)
def test_only_what_a_version_does_wrong_rejects_it_and_the_reason_of_anything_else_is_kept(
    flaky_fleet: Fleet, flaky: FlakyStore, cause: BaseException, state: str
) -> None:
    end = abort(flaky_fleet, begun(flaky_fleet), cause)
    found = catalog.version(flaky, "affine", 1)
    assert (end.outcome, found.state) == ("aborted", state)
    assert found.verdict is not None
    assert (str(cause) or "The run was stopped") in found.verdict.reason
    assert len(end.verdicts) == (state == "rejected"), "of what says nothing about the version nobody is told"


def test_what_ends_a_later_rollout_leaves_an_accepted_version_accepted(flaky_fleet: Fleet, flaky: FlakyStore) -> None:
    catalog.decide(flaky, Verdict("affine", 1, "accepted", "before", "another run"))
    abort(flaky_fleet, begun(flaky_fleet), RolloutFailed("Replica r1: its disk is full."))
    assert catalog.version(flaky, "affine", 1).state == "accepted"


@pytest.mark.parametrize("since", ["ended", "taken over"])
def test_a_run_that_was_stopped_and_lost_its_place_changes_nothing_when_it_wakes_up(
    flaky_fleet: Fleet, flaky: FlakyStore, since: str
) -> None:
    record = begun(flaky_fleet)
    serve(flaky_fleet, record, make_plan(flaky_fleet, record).stages[0])
    if since == "ended":
        end_rollout(flaky_fleet, record)
    else:
        other = replace(record, process=replace(record.process, pid=1))
        flaky.put(keys.rollout_key("test", "affine"), other.to_json())
    catalog.decide(flaky, Verdict("affine", 1, "accepted", "by the other", "another run"))
    newest = flaky_fleet.newest().number
    for wakes in (
        lambda: accept(flaky_fleet, record),
        lambda: serve(flaky_fleet, record, make_plan(flaky_fleet, record).stages[1]),
    ):
        with pytest.raises(RolloutConflict):
            wakes()
    for cause in (ValidationFailed("It answers wrongly."), RolloutConflict("It lost its place.")):
        assert abort(flaky_fleet, record, cause).outcome is None
    assert catalog.version(flaky, "affine", 1).verdict == catalog.verdict(flaky, "affine", 1)
    assert catalog.version(flaky, "affine", 1).state == "accepted"
    assert flaky_fleet.newest().number == newest


def test_a_run_that_is_stopped_just_before_it_writes_its_verdict_does_not_write_it_over_anothers(
    flaky_fleet: Fleet, flaky: FlakyStore
) -> None:
    record = begun(flaky_fleet)
    other = Verdict("affine", 1, "accepted", "by the other", "another run")

    def stop_until_another_has_decided(method: str, key: str) -> None:
        if method == "create" and key == keys.verdict_key("affine", 1):
            end_rollout(flaky_fleet, record)
            catalog.decide(flaky, other)

    stopped = Fleet(WatchedStore(flaky, stop_until_another_has_decided), UNSIGNED, "test", DEADLINE)
    with pytest.raises(RolloutConflict):
        decide(stopped, record, "rejected", "It answers wrongly.")
    assert catalog.verdict(flaky, "affine", 1) == other


def test_a_dead_rollout_goes_by_its_own_verdict_whatever_another_fleets_said_since(
    flaky_fleet: Fleet, flaky: FlakyStore
) -> None:
    record = begun(flaky_fleet)
    serve(flaky_fleet, record, make_plan(flaky_fleet, record).stages[0])
    mine = accept(flaky_fleet, record)
    catalog.decide(flaky, Verdict("affine", 1, "rejected", "wrong there", "another run", fleet="another"))
    end = recover_rollout(flaky_fleet, record)
    assert (end.outcome, end.verdicts) == ("finished", (mine,))
    assert flaky_fleet.newest().versions("affine") == [1]


def test_a_version_on_trial_whose_record_was_lost_is_not_served_any_longer(
    flaky_fleet: Fleet, flaky: FlakyStore
) -> None:
    record = begun(flaky_fleet)
    serve(flaky_fleet, record, make_plan(flaky_fleet, record).stages[0])
    theirs = serving_entry("theirs-candidate", "/srv/theirs", [1], {})
    flaky_fleet.change({"theirs-candidate": theirs}, "by hand")
    assert drop_orphans(flaky_fleet) == [], "its rollout is under way"
    flaky.delete(keys.rollout_key("test", "affine"))
    assert drop_orphans(flaky_fleet) == ["affine-candidate is not served any more: the record of its rollout was lost."]
    assert [entry.name for entry in flaky_fleet.newest().models.model_config_list.config] == ["theirs-candidate"]
    assert catalog.version(flaky, "affine", 1).state == "published"

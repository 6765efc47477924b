"""Where a rollback goes, and how."""

from pathlib import Path

import pytest

from tasks.delivery.recover import recover_rollout
from tasks.delivery.rollback import Rollback, choose_rollback
from tasks.delivery.rollout import accept, begin_rollout, finish_rollout
from tasks.errors import NoReplica, NotFound
from tasks.fleet.config import Fleet, serving_entry
from tasks.records import ReplicaReport, RolloutRecord, Training, Verdict, VerdictState
from tasks.store import keys
from tasks.store.base import Store
from tasks.versions import catalog
from tests.helpers.policies import POLICY
from tests.helpers.saved_models import write_saved_model
from tests.helpers.versions import UNSIGNED, publish_version

DECISIONS: tuple[VerdictState | None, ...] = ("accepted", "rejected", "accepted", None, "accepted")


def decide(fleet: Fleet, number: int, state: VerdictState) -> None:
    catalog.decide(fleet.store, Verdict(model="MLP", version=number, state=state, reason="", run="test"))


@pytest.fixture
def fleet_of_five(store: Store, tmp_path: Path) -> Fleet:
    """Five versions of MLP, accepted but for 2 (rejected) and 4 (never rolled out)."""
    for number, state in enumerate(DECISIONS, 1):
        folder = write_saved_model(tmp_path / str(number))
        publish_version(store, UNSIGNED, "MLP", folder, signatures={}, golden=None, training=Training(), run="test")
        if state is not None:
            catalog.decide(store, Verdict(model="MLP", version=number, state=state, reason="", run="test"))
    store.put(keys.replica_key("test", "r1"), ReplicaReport("r1", "", "", 0, {}).to_json())
    return Fleet(store, UNSIGNED, "test", 1.0)


def serve(fleet_of_five: Fleet, *numbers: int, **labels: int) -> None:
    fleet_of_five.change({"MLP": serving_entry("MLP", fleet_of_five.base_path("MLP"), numbers, labels)}, "test")


def test_it_goes_to_the_accepted_version_before_the_one_that_serves(fleet_of_five: Fleet) -> None:
    serve(fleet_of_five, 5)
    assert choose_rollback(fleet_of_five, "MLP", None) == Rollback(3, "blue-green")
    serve(fleet_of_five, 3)
    assert choose_rollback(fleet_of_five, "MLP", None) == Rollback(1, "blue-green")
    serve(fleet_of_five, 1)
    with pytest.raises(
        NotFound, match="MLP has no accepted version with a lower number than 1: there is nothing to go back to"
    ):
        choose_rollback(fleet_of_five, "MLP", None)


def test_it_does_not_go_to_a_version_that_was_gone_back_from_unless_told(fleet_of_five: Fleet) -> None:
    serve(fleet_of_five, 5)
    decide(fleet_of_five, 3, "retired")
    assert choose_rollback(fleet_of_five, "MLP", None).version == 1
    decide(fleet_of_five, 1, "rejected")
    with pytest.raises(NotFound, match=r"nothing to go back to\. `--to 3` serves a retired one again\."):
        choose_rollback(fleet_of_five, "MLP", None)
    assert choose_rollback(fleet_of_five, "MLP", 3).version == 3


def rolled_out(fleet: Fleet, number: int) -> RolloutRecord:
    """A rollout of this version that has come to its end."""
    record = begin_rollout(fleet, "MLP", number, "blue-green", "a run", POLICY)
    accept(fleet, record)
    serve(fleet, number)
    return record


def test_what_a_rollout_goes_back_from_is_retired_with_its_end(fleet_of_five: Fleet) -> None:
    serve(fleet_of_five, 5)
    record = rolled_out(fleet_of_five, 3)
    end = finish_rollout(fleet_of_five, record)
    verdict = catalog.verdict(fleet_of_five.store, "MLP", 5)
    assert verdict is not None
    assert (end.versions, end.verdicts) == ([3, 5], (verdict,))
    assert (verdict.state, verdict.reason) == ("retired", "fleet test went back from it to version 3")
    assert (verdict.run, verdict.policy) == ("a run", None), "the rule by which it once passed is kept"
    assert catalog.version(fleet_of_five.store, "MLP", 3).state == "accepted"
    assert finish_rollout(fleet_of_five, record).versions == [3], "once more changes nothing"
    assert finish_rollout(fleet_of_five, rolled_out(fleet_of_five, 4)).versions == [4]
    assert catalog.version(fleet_of_five.store, "MLP", 3).state == "accepted"
    assert choose_rollback(fleet_of_five, "MLP", None).version == 3


def test_a_dead_run_that_went_back_is_finished_with_what_it_left_retired(fleet_of_five: Fleet) -> None:
    serve(fleet_of_five, 5)
    record = rolled_out(fleet_of_five, 3)
    fleet_of_five.put_report(ReplicaReport("r1", "", "", fleet_of_five.newest().number, {}))
    end = recover_rollout(fleet_of_five, record)
    assert end.sentence.endswith("had been accepted: it serves.")
    assert [(v.version, v.state) for v in end.verdicts] == [(3, "accepted"), (5, "retired")]
    assert catalog.version(fleet_of_five.store, "MLP", 5).state == "retired"


def test_it_goes_where_it_is_told_to(fleet_of_five: Fleet) -> None:
    serve(fleet_of_five, 5)
    assert choose_rollback(fleet_of_five, "MLP", 1) == Rollback(1, "blue-green")


def test_where_clients_ask_for_stable_the_label_goes_back_from_where_it_is(fleet_of_five: Fleet) -> None:
    serve(fleet_of_five, 3, 5, stable=5)
    assert choose_rollback(fleet_of_five, "MLP", None) == Rollback(3, "labels")
    serve(fleet_of_five, 3, 5, stable=3)
    assert choose_rollback(fleet_of_five, "MLP", None) == Rollback(1, "labels")


def test_in_a_fleet_without_replicas_there_is_no_way_back(fleet_of_five: Fleet) -> None:
    with pytest.raises(NoReplica, match=r"Fleet 'tset' has no replica: none has ever reported\. Is 'test' meant\?"):
        choose_rollback(Fleet(fleet_of_five.store, fleet_of_five.trust, "tset", 1.0), "MLP", None)

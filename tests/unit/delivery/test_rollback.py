"""Where a rollback goes, and how."""

from pathlib import Path

import pytest

from tasks.delivery.rollback import Rollback, choose_rollback
from tasks.errors import NoReplica, NotFound
from tasks.fleet.config import Fleet, serving_entry
from tasks.records import ReplicaReport, Training, Verdict, VerdictState
from tasks.store import keys
from tasks.store.base import Store
from tasks.versions import catalog
from tests.helpers.saved_models import write_saved_model
from tests.helpers.versions import UNSIGNED, publish_version

DECISIONS: tuple[VerdictState | None, ...] = ("accepted", "rejected", "accepted", None, "accepted")


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

"""A rollout by a strategy that holds replicas back, as the page on adding a strategy has it."""

import itertools
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from flows.rollout import rollout
from tasks.delivery import strategies
from tasks.delivery.preview import preview_rollout
from tasks.delivery.recover import recover_rollout
from tasks.delivery.rollout import accept, begin_rollout, make_plan, serve
from tasks.fleet.history import fleet_history
from tasks.fleet.replicas import await_config
from tests.helpers.clients import Client
from tests.helpers.models import publish_affine
from tests.helpers.pages import HOW_TO, follow
from tests.helpers.policies import POLICY
from tests.helpers.three_replicas import ThreeReplicas

NAME = "replica-by-replica"


@pytest.fixture(autouse=True)
def _replica_by_replica(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's strategy lies beside the others."""
    follow(HOW_TO / "add-a-strategy.md", tmp_path)
    beside = tmp_path / "tasks" / "delivery" / "strategies"
    monkeypatch.setattr(strategies, "__path__", [*strategies.__path__, str(beside)])
    monkeypatch.delitem(sys.modules, f"{strategies.__name__}.replica_by_replica", raising=False)


def test_clients_meet_an_accepted_version_on_one_replica_after_the_other(three_replicas: ThreeReplicas) -> None:
    fleet = three_replicas.fleet
    (before,), path = three_replicas.fleet.newest().versions("affine")[-1:], three_replicas.models
    variant = 1 + three_replicas.promised(before) % 3
    version = publish_affine(fleet, path, variant)
    plan = preview_rollout(fleet, "affine", version, NAME, POLICY)
    loads = [[bool(change.loads) for change in replica.changes] for replica in plan.replicas]
    assert loads == [[True, True, False, False], [True, False, True, False], [True, False, False, True]]
    seen: list[list[int]] = []
    with ExitStack() as asking:
        clients = [asking.enter_context(Client(replica).hammering()) for replica in three_replicas.replicas]
        begun = fleet.newest().number
        rollout("affine", version, fleet.name, NAME)
        for client in clients:
            client.await_answers()
    assert [client.failures for client in clients] == [[], [], []]
    for client in clients:
        seen.append([number for number, _ in itertools.groupby(client.versions)])
    assert seen == [[before, version]] * 3
    changes = [change.changes for change in reversed(fleet_history(fleet, fleet.newest().number - begun))]
    assert len(changes) == 4
    assert [any("so on r1 alone" in words for words in change) for change in changes] == [False, True, False, False]
    assert [any("so on r1, r2 alone" in words for words in change) for change in changes] == [False, False, True, False]
    three_replicas.require_whole()
    assert three_replicas.state(version) == "accepted"


def test_a_rollout_that_dies_between_two_replicas_is_finished_on_all(three_replicas: ThreeReplicas) -> None:
    fleet = three_replicas.fleet
    version = publish_affine(fleet, three_replicas.models, 1)
    record = begin_rollout(fleet, "affine", version, NAME, "a run that dies", POLICY)
    trial, first, *_ = make_plan(fleet, record).stages
    await_config(fleet, serve(fleet, record, trial), "affine")
    accept(fleet, record)
    (r1,) = await_config(fleet, serve(fleet, record, first), "affine", only=first.only)
    assert r1.replica == "r1"
    assert [version in three_replicas.loaded(replica) for replica in three_replicas.replicas] == [True, True, True]
    with three_replicas.replicas[1].client() as other:
        assert version not in [s.version for s in other.statuses("affine") if s.state == "AVAILABLE"]
    assert recover_rollout(fleet, record).sentence.endswith("had been accepted: it serves.")
    three_replicas.require_whole()

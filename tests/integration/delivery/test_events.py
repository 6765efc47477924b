"""What Prefect is told of a version's life, of rollouts and of replicas: real flows, store, replica and server."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client

from flows import events
from flows.reconcile import reconcile
from flows.release import release_saved_model
from flows.rollout import rollout
from flows.steps import delete_version
from tasks.delivery.rollout import accept, begin_rollout
from tasks.errors import RolloutFailed
from tasks.fleet import replicas
from tasks.fleet.config import Fleet
from tasks.records import ReplicaReport
from tasks.store import keys
from tests.helpers.local import until
from tests.helpers.models import publish_affine
from tests.helpers.policies import POLICY
from tests.helpers.replica import LocalReplica

pytestmark = pytest.mark.usefixtures("flows")


def told(**criteria: Any) -> list[dict[str, Any]]:
    """The events of Slipway that Prefect has, oldest first."""
    body = {"filter": {"event": {"prefix": ["slipway."]}, "order": "ASC", **criteria}, "limit": 50}
    with get_client(sync_client=True) as client:
        found: list[dict[str, Any]] = client.request("POST", "/events/filter", json=body).json()["events"]
    return found


def about(resource: str) -> list[dict[str, Any]]:
    return told(any_resource={"id": [resource]})


def test_each_decision_is_told_once_with_its_run_and_reason(
    fleet: Fleet, replica: LocalReplica, small_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release_saved_model("told", str(small_models / "affine" / "1"), fleet=fleet.name)
    wrong = publish_affine(fleet, small_models, 2, golden=3, model="told")
    with pytest.raises(RolloutFailed) as failed:
        rollout("told", wrong, fleet.name)
    dead = publish_affine(fleet, small_models, 3, model="told")
    record = begin_rollout(fleet, "told", dead, "blue-green", "a dead run", POLICY)
    verdict = accept(fleet, record)
    monkeypatch.setattr("tasks.delivery.recover.is_gone", lambda process: process == record.process)
    (said,) = reconcile(fleet.name)
    delete_version("told", wrong, "a pruning")
    assert events.emit(events.decided(fleet.name, record, verdict)), "as a step that is repeated"

    until(lambda: any(e["event"].endswith("retired") for e in about("slipway.model.told")), "all events are kept", 60)
    found = about("slipway.model.told")
    assert [(e["event"].removeprefix("slipway."), e["payload"]["version"]) for e in found] == [
        ("version.published", 1),
        ("rollout.began", 1),
        ("version.accepted", 1),
        ("rollout.finished", 1),
        ("rollout.began", 2),
        ("version.rejected", 2),
        ("rollout.aborted", 2),
        ("version.accepted", 3),
        ("rollout.finished", 3),
        ("version.retired", 2),
    ]
    reasons = {(e["event"], e["payload"]["version"]): e["payload"]["reason"] for e in found}
    assert "output 'y' differs in 3 of 3 values" in reasons["slipway.version.rejected", 2]
    assert reasons["slipway.rollout.aborted", 2] == str(failed.value)
    assert reasons["slipway.rollout.finished", 3] == said
    assert reasons["slipway.version.retired", 2] == "pruned"
    runs = [e["payload"]["run"] for e in found]
    assert len({*runs[:4]}) == 1
    assert {*runs[-3:]} == {"a dead run", "a pruning"}
    assert {r["prefect.resource.id"] for r in found[0]["related"]} >= {f"prefect.flow-run.{runs[0]}"}


def test_a_replica_that_falls_silent_and_reports_again_is_told_each_time(
    fleet: Fleet, replica: LocalReplica, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = replicas.LEASE
    for silent in (True, True, False, True):
        fleet.put_report(ReplicaReport("gone", "", "", fleet.newest().number, {}))
        monkeypatch.setattr(replicas, "LEASE", timedelta(seconds=-1) if silent else lease)
        reconcile(fleet.name)
    expected = [f"slipway.replica.{what}" for what in ("behind", "back", "behind")]
    resource = f"slipway.replica.{fleet.name}.gone"
    until(lambda: [e["event"] for e in about(resource)] == expected, "each change is told once", 60)
    fleet.store.delete_once(keys.replica_key(fleet.name, "gone"))

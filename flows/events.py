"""Prefect events: what was decided about versions, rollouts and replicas, for automations to act on.

docs/events.md has the table. An event decides nothing: what Prefect does not take is told in a warning, and is not sent
later. Each has an id made of what it says, so that what is told again, by a step's retry or by a recovery, is known.
"""

import json
import logging
import uuid
from collections.abc import Sequence
from typing import Any, Literal

import httpx
from prefect.client.orchestration import get_client
from prefect.events import Event
from prefect.events.filters import EventFilter, EventIDFilter
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from tasks.delivery.rollout import RolloutEnd
from tasks.errors import SlipwayError
from tasks.fleet import changes
from tasks.fleet.changes import ReplicaChange
from tasks.fleet.config import Fleet
from tasks.records import Manifest, RolloutRecord, Verdict

log = logging.getLogger(__name__)

_IDS = uuid.uuid5(uuid.NAMESPACE_DNS, "events.slipway")
_PAGE = 50  # events that the server gives at most
_TIMEOUT = httpx.Timeout(5.0, connect=2.0)  # seconds; a delivery waits for it


def published(manifest: Manifest, run: str) -> Event:
    """A version was published; the reason is that of `--force`, if it needed one."""
    reason = manifest.gate.forced if manifest.gate is not None else None
    return _of_version("version.published", manifest.model, manifest.version, None, run, reason)


def retired(verdict: Verdict) -> Event:
    """A version was deleted: once, whoever else was about to."""
    return _of_version(f"version.{verdict.state}", verdict.model, verdict.version, None, verdict.run, verdict.reason)


def decided(fleet: str, record: RolloutRecord, verdict: Verdict) -> Event:
    """A rollout accepted, rejected or retired a version: its own, or one that it went back from."""
    return _of_rollout(f"version.{verdict.state}", fleet, record, verdict.version, verdict.reason)


def rollout(
    what: Literal["began", "aborted", "finished"], fleet: str, record: RolloutRecord, reason: str | None = None
) -> Event:
    """A rollout began or ended."""
    return _of_rollout(f"rollout.{what}", fleet, record, record.version, reason)


def ended(fleet: str, end: RolloutEnd) -> list[Event]:
    """How a rollout ended, after what it decided."""
    verdicts = [decided(fleet, end.record, verdict) for verdict in end.verdicts]
    return verdicts + ([rollout(end.outcome, fleet, end.record, end.sentence)] if end.outcome is not None else [])


def replica(fleet: str, change: ReplicaChange, run: str | None) -> Event:
    """A replica fell behind its fleet, or is back."""
    resource = {
        "prefect.resource.id": f"slipway.replica.{fleet}.{change.replica}",
        "prefect.resource.name": f"{change.replica} of {fleet}",
        "slipway.replica": change.replica,
    }
    payload = {"model": change.model, "version": None, "fleet": fleet, "reason": change.reason, "run": run}
    return _event(f"slipway.replica.{change.what}", resource, payload, (change.replica, change.number))


def emit(*events: Event) -> bool:
    """Tell Prefect of what it does not know yet; whether it knows all of them now.

    Raises nothing: a Prefect server that is away costs a delivery a few seconds at most.
    """
    if not events or not PREFECT_API_URL.value():
        return not events
    mine = {"prefect.resource.id": f"prefect.flow-run.{flow_run.id}", "prefect.resource.role": "flow-run"}
    try:
        with (
            temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
            get_client(httpx_settings={"timeout": _TIMEOUT}, sync_client=True) as client,
        ):
            # The server drops an id that it was sent within minutes. Later it would act on it once more.
            same = EventFilter(id=EventIDFilter(id=[event.id for event in events]))
            known = {event.id for event in client.read_events(same, min(_PAGE, len(events))).events}
            new = [e.model_dump(mode="json") for e in events if e.id not in known]
            for event in new if flow_run.id else ():
                event["related"].append(mine)
            if new:
                client.request("POST", "/events", json=new)
    except httpx.HTTPError as error:
        names = ", ".join(event.event for event in events)
        log.warning("Prefect did not take %s (%s): no automation acts on it.", names, type(error).__name__)
        return False
    return True


def tell_of_replicas(fleet: Fleet) -> list[ReplicaChange]:
    """Tell of each replica of the fleet that fell behind or came back since this was last told."""
    try:
        found = changes.replica_changes(fleet)
        if emit(*(replica(fleet.name, change, flow_run.id) for change in found)):
            changes.note(fleet, found)
    except SlipwayError as error:
        log.warning("Whether replicas of %s fell behind could not be told: %s", fleet.name, error)
        return []
    return found


def _of_rollout(what: str, fleet: str, record: RolloutRecord, version: int, reason: str | None) -> Event:
    occasion = (record.run, record.started.isoformat())
    return _of_version(what, record.model, version, fleet, record.run, reason, occasion)


def _of_version(
    what: str, model: str, version: int, fleet: str | None, run: str, reason: str | None, occasion: Sequence[str] = ()
) -> Event:
    resource = {
        "prefect.resource.id": f"slipway.version.{model}.{version}",
        "prefect.resource.name": f"{model} {version}",
        "slipway.version": str(version),
    }
    payload = {"model": model, "version": version, "fleet": fleet, "reason": reason, "run": run}
    return _event(f"slipway.{what}", resource, payload, occasion)


def _event(name: str, resource: dict[str, str], payload: dict[str, Any], occasion: Sequence[object]) -> Event:
    """An event about a resource, related to its model and fleet.

    Args:
        occasion: what tells it from other events of this name about the same model, version and fleet.
    """
    about = {role: payload[role] for role in ("model", "fleet") if payload[role] is not None}
    identity = [name, payload["model"], payload["version"], payload["fleet"], *occasion]
    return Event.model_validate(
        {
            "event": name,
            "resource": {**resource, **{f"slipway.{role}": value for role, value in about.items()}},
            "related": [
                {"prefect.resource.id": f"slipway.{role}.{value}", "prefect.resource.role": role}
                for role, value in about.items()
            ],
            "payload": payload,
            "id": uuid.uuid5(_IDS, json.dumps(identity)),
        }
    )

"""Moving a fleet from one version of a model to another, and back: the steps, each safe to do twice."""

import logging
import time
from collections.abc import Sequence
from datetime import timedelta

from tasks import fleet, layout, versions
from tasks.errors import DeadlineExceeded, NotFound, RolloutConflict, RolloutFailed
from tasks.fleet import FleetConfig, serving_entry
from tasks.layout import CANDIDATE_SUFFIX
from tasks.processes import is_gone, this_process
from tasks.records import ReplicaReport, RolloutRecord, Verdict, VerdictState, now
from tasks.store import Store

log = logging.getLogger(__name__)

# A replica reports every five seconds; one that has been silent for this long is not waited for.
LEASE = timedelta(seconds=30)
_POLL = 0.2  # seconds between two looks at the replicas' reports


def begin(store: Store, fleet_name: str, model: str, version: int, run: str, deadline: float) -> RolloutRecord:
    """Take the model's place in the fleet for this run, so that whoever finds it dead can restore what was before.

    Args:
        deadline: seconds after which anyone may take the rollout for dead.

    Raises:
        NotFound: there is no such version.
        RolloutConflict: another rollout of this model is under way.
    """
    versions.manifest(store, model, version)
    record = RolloutRecord(
        model=model,
        version=version,
        run=run,
        process=this_process(),
        previous_config=fleet.newest(store, fleet_name).number,
        deadline=now() + timedelta(seconds=deadline),
    )
    if not store.create(layout.rollout_key(fleet_name, model), record.to_json()):
        other = under_way(store, fleet_name, model)
        told = f"version {other.version} by run {other.run}, since {other.started:%H:%M:%S}" if other else "just ended"
        raise RolloutConflict(
            f"Fleet {fleet_name!r}: another rollout of {model} is under way ({told}). Wait for it to end; if its run "
            f"is dead, `slipway reconcile` takes it back, at the latest after its deadline."
        )
    return record


def end(store: Store, fleet_name: str, record: RolloutRecord) -> None:
    """Give the model's place in the fleet free again."""
    found = under_way(store, fleet_name, record.model)
    if found is not None and found.run == record.run:
        store.delete(layout.rollout_key(fleet_name, record.model))


def under_way(store: Store, fleet_name: str, model: str) -> RolloutRecord | None:
    """The rollout of `model` that has not ended, None where there is none."""
    key = layout.rollout_key(fleet_name, model)
    data = store.find(key)
    return RolloutRecord.from_json(data, store.uri(key)) if data is not None else None


def dead_rollouts(store: Store, fleet_name: str) -> list[RolloutRecord]:
    """Rollouts whose run is gone or whose deadline has passed."""
    found = []
    for key in store.keys(layout.rollouts_prefix(fleet_name)):
        data = store.find(key)
        record = RolloutRecord.from_json(data, store.uri(key)) if data is not None else None
        if record is not None and (now() > record.deadline or is_gone(record.process)):
            found.append(record)
    return found


def serve_candidate(store: Store, fleet_name: str, record: RolloutRecord) -> FleetConfig:
    """Ask the fleet for the version under the candidate's name, beside what it serves."""
    name = candidate_name(record.model)
    entry = serving_entry(store, record.model, [record.version], name=name)
    return fleet.change(store, fleet_name, {name: entry}, f"{record.run} {name}: try {record.version}")


def switch(store: Store, fleet_name: str, record: RolloutRecord) -> FleetConfig:
    """Ask the fleet for the version under the model's own name; the candidate leaves."""
    entries = {
        record.model: serving_entry(store, record.model, [record.version]),
        candidate_name(record.model): None,
    }
    return fleet.change(store, fleet_name, entries, f"{record.run} {record.model}: serve {record.version}")


def restore(store: Store, fleet_name: str, record: RolloutRecord) -> FleetConfig:
    """Ask the fleet for what it served of this model before the rollout; other models' entries stay as they are now."""
    before = fleet.read(store, fleet_name, record.previous_config).entry(record.model)
    entries = {record.model: before, candidate_name(record.model): None}
    return fleet.change(store, fleet_name, entries, f"{record.run} {record.model}: back from {record.version}")


def accept(store: Store, record: RolloutRecord) -> None:
    """Write that the version was accepted."""
    decide(store, record, "accepted", "its live answers are those of the trained model")


def reject(store: Store, record: RolloutRecord, reason: str) -> None:
    """Write that the version was taken back, and why."""
    decide(store, record, "rejected", reason)


def decide(store: Store, record: RolloutRecord, state: VerdictState, reason: str) -> None:
    """Write a version's verdict."""
    verdict = Verdict(model=record.model, version=record.version, state=state, reason=reason, run=record.run)
    versions.decide(store, verdict)
    log.info("%s version %d %s: %s", record.model, record.version, state, reason)


def await_fleet(store: Store, fleet_name: str, config: FleetConfig, deadline: float) -> list[ReplicaReport]:
    """Wait until every live replica has reached `config`, and return their reports.

    Raises:
        RolloutFailed: a replica could not reach it; carries that replica's own words.
        DeadlineExceeded: not all did within `deadline` seconds, or none is alive.
    """
    limit = time.monotonic() + deadline
    while True:
        live = live_replicas(store, fleet_name)
        behind = [r for r in live if r.config < config.number]
        if live and not behind:
            return live
        failed = next((r for r in behind if r.error_config is not None and r.error_config >= config.number), None)
        if failed is not None:
            raise RolloutFailed(f"Fleet {fleet_name!r}: replica {failed.replica}: {failed.error}")
        if time.monotonic() > limit:
            raise DeadlineExceeded(_too_late(fleet_name, config, behind, deadline))
        time.sleep(_POLL)


def live_replicas(store: Store, fleet_name: str) -> list[ReplicaReport]:
    """Reports of the replicas whose lease has not run out."""
    return [r for r in fleet.replicas(store, fleet_name) if now() - r.time <= LEASE]


def served_version(store: Store, fleet_name: str, model: str) -> int | None:
    """The version of `model` that the fleet is asked to serve, None where it serves none."""
    return max(fleet.newest(store, fleet_name).versions(model), default=None)


def previous_accepted(store: Store, fleet_name: str, model: str) -> int:
    """The version that a rollback goes to: the newest below the served one that a rollout accepted.

    Raises:
        NotFound: there is none.
    """
    served = served_version(store, fleet_name, model)
    for number in reversed(versions.published(store, model)):
        verdict = versions.verdict(store, model, number)
        if (served is None or number < served) and verdict is not None and verdict.state != "rejected":
            return number
    raise NotFound(
        f"{model} has no accepted version before {served}: there is nothing to go back to. "
        f"See `slipway versions {model}`."
    )


def candidate_name(model: str) -> str:
    """The name that a version on trial is served under."""
    return model + CANDIDATE_SUFFIX


def _too_late(fleet_name: str, config: FleetConfig, behind: Sequence[ReplicaReport], deadline: float) -> str:
    if not behind:
        return (
            f"Fleet {fleet_name!r} has no live replica: none has reported in the last {LEASE.seconds} s. "
            "Start one with its agent (`make up` on one machine)."
        )
    told = "; ".join(f"{r.replica} is at config {r.config}" + (f" ({r.error})" if r.error else "") for r in behind)
    return (
        f"Fleet {fleet_name!r} did not reach config {config.number} within {deadline:g} s: {told}. Logs: `make logs`."
    )


def take_back(store: Store, fleet_name: str, record: RolloutRecord, reason: str, deadline: float) -> int | None:
    """Restore what the fleet served before, prove it on every replica, and reject the version.

    Returns:
        The version that serves now, None where the model is served no more.

    Raises:
        RolloutFailed, DeadlineExceeded: the fleet did not get back; the rollout's record stays for `reconcile`.
    """
    reject(store, record, reason)
    config = restore(store, fleet_name, record)
    await_fleet(store, fleet_name, config, deadline)
    end(store, fleet_name, record)
    return max(config.versions(record.model), default=None)


def recover(store: Store, fleet_name: str, record: RolloutRecord, deadline: float) -> str:
    """Finish or undo the rollout of a run that is dead; what was done, in one sentence.

    An accepted version stays: its verdict is written after it was proven. Anything less is undone.
    """
    verdict = versions.verdict(store, record.model, record.version)
    if verdict is not None and verdict.state == "accepted" and verdict.run == record.run:
        end(store, fleet_name, record)
        return f"{record.model} version {record.version} was accepted by run {record.run}, which died: finished."
    config = restore(store, fleet_name, record)
    await_fleet(store, fleet_name, config, deadline)
    end(store, fleet_name, record)
    serving = max(config.versions(record.model), default=None)
    return f"{record.model} version {record.version} was on trial by run {record.run}, which died: {said(serving)}."


def said(serving: int | None) -> str:
    """Which version serves, in words."""
    return f"version {serving} serves as before" if serving else "the model is not served, as before"

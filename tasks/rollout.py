"""Moving a fleet from one version of a model to another, and back: the steps, each safe to do twice."""

import contextlib
import dataclasses
import logging
from datetime import datetime, timedelta

import stamina

from tasks import layout, replicas, versions
from tasks.compatibility import broken, held_against, require_reason
from tasks.errors import (
    TRANSPORT_ERRORS,
    GateFailed,
    LoadFailed,
    RolloutConflict,
    RolloutFailed,
    SlipwayError,
    StoreUnreachable,
    ValidationFailed,
)
from tasks.fleet import Fleet, FleetConfig
from tasks.layout import candidate_name
from tasks.plan import Plan, Stage, entry_to_restore, live_version, plan_rollout, stage_entries
from tasks.processes import is_gone, this_process
from tasks.records import Manifest, RolloutRecord, Strategy, Verdict, VerdictState, now
from tasks.step import step, with_fleet
from tasks.watch import watch_time

log = logging.getLogger(__name__)


def begin_rollout(
    fleet: Fleet, model: str, version: int, strategy: Strategy, run: str, force: str | None = None
) -> RolloutRecord:
    """Take the model's place in the fleet for this run, so that whoever finds it dead can restore what was before.

    Args:
        force: a person's reason for rolling it out whatever the comparison with the version that serves says.

    Raises:
        NotFound: there is no such version.
        GateFailed: clients of the version that serves could not go on asking; nothing was changed.
        RolloutConflict: another rollout of this model is under way.
        InvalidInput: `force` gives no reason.
    """
    require_reason(force)
    manifest = versions.manifest(fleet.store, model, version)
    record = RolloutRecord(model, version, strategy, run, this_process(), _deadline(fleet), forced=force)
    key = layout.rollout_key(fleet.name, model)
    # An earlier try of this very run may have come this far, and lost an answer then.
    if not fleet.store.create(key, record.to_json()) and not _is_ours(fleet, record):
        other = rollout_under_way(fleet, model)
        told = (
            f"version {other.version} by run {other.run}, since {other.started:%H:%M:%S} UTC" if other else "just ended"
        )
        raise RolloutConflict(
            f"Fleet {fleet.name!r}: another rollout of {model} is under way ({told}). Wait for it to end and try again."
        )
    try:
        # Only now does nobody else change this model's entry, so what is read is what must be restored.
        current = fleet.newest()
        live = None if force is not None else held_against(fleet.store, manifest, live_version(current, model))
        if live is not None:
            _require_unbroken(manifest, live)
        watched = watch_time(fleet.store, model, version, strategy)
        record = dataclasses.replace(
            record,
            deadline=record.deadline + timedelta(seconds=watched),
            previous_config=current.number,
            against=live.version if live is not None else None,
            watched=watched,
        )
        fleet.store.put(key, record.to_json())
    except BaseException:
        with contextlib.suppress(SlipwayError):
            end_rollout(fleet, record)
        raise
    return record


def _deadline(fleet: Fleet) -> datetime:
    """When a rollout that begins now must have ended: two changes to reach, twice validated, and the way back."""
    return now() + timedelta(seconds=5 * fleet.deadline)


def _require_unbroken(new: Manifest, live: Manifest) -> None:
    found = broken(new.signatures, live.signatures)
    if found:
        raise GateFailed(
            f"{new.model} version {new.version} breaks what clients of version {live.version}, which serves, ask: "
            f"{'; '.join(found)}. Nothing was changed; `--force REASON` rolls it out all the same."
        )


def end_rollout(fleet: Fleet, record: RolloutRecord) -> None:
    """Give the model's place in the fleet free again, if it is still this rollout's."""
    for attempt in stamina.retry_context(on=StoreUnreachable, attempts=4, timeout=None):
        with attempt:
            if _is_ours(fleet, record):
                fleet.store.delete_once(layout.rollout_key(fleet.name, record.model))


def rollout_under_way(fleet: Fleet, model: str) -> RolloutRecord | None:
    """The rollout of `model` that has not ended, None where there is none."""
    return fleet.rollout_under_way(model)


def dead_rollouts(fleet: Fleet) -> list[RolloutRecord]:
    """Rollouts whose run is gone or whose deadline has passed."""
    names = [
        key.rpartition("/")[2].removesuffix(".json") for key in fleet.store.keys(layout.rollouts_prefix(fleet.name))
    ]
    records = [rollout_under_way(fleet, name) for name in names]
    return [r for r in records if r is not None and (now() > r.deadline or is_gone(r.process))]


def make_plan(fleet: Fleet, record: RolloutRecord) -> Plan:
    """What the rollout will do, from what the fleet served when it began: a stage on trial, and one live."""
    return plan_rollout(fleet.read(record.previous_config or 0), record.model, record.version, record.strategy)


def apply_stage(fleet: Fleet, record: RolloutRecord, stage: Stage) -> FleetConfig:
    """Ask the fleet for one stage of the plan.

    Raises:
        RolloutConflict: someone took the rollout for dead, and took it back.
    """
    entries = stage_entries(stage, fleet.base_path(record.model))
    note = f"run {record.run}: {stage.name} {record.model} {record.version}"
    return fleet.change(entries, note, still_mine=lambda: _require_ours(fleet, record))


def restore_previous(fleet: Fleet, record: RolloutRecord) -> FleetConfig:
    """Ask the fleet for what it served of this model before the rollout; other models' entries stay as they are now."""
    before = fleet.read(record.previous_config or 0)
    entries = {record.model: entry_to_restore(before, record.model), candidate_name(record.model): None}
    note = f"run {record.run}: back from {record.model} {record.version}"
    return fleet.change(entries, note, still_mine=lambda: _require_ours(fleet, record), always=True)


def accept_version(fleet: Fleet, record: RolloutRecord) -> None:
    """Write that the version was accepted: from here on clients may meet it, and a rollout that dies is finished."""
    forced = f"; forced: {record.forced}" if record.forced is not None else ""
    _decide(fleet, record, "accepted", f"its live answers are those of the trained model{forced}")


def _decide(fleet: Fleet, record: RolloutRecord, state: VerdictState, reason: str) -> None:
    verdict = Verdict(model=record.model, version=record.version, state=state, reason=reason, run=record.run)
    versions.decide(fleet.store, verdict)
    log.info("%s version %d %s: %s", record.model, record.version, state, reason)


def take_back_version(fleet: Fleet, record: RolloutRecord, cause: BaseException) -> RolloutFailed:
    """Restore what the fleet served before, prove it on every replica, and say so in an error.

    The version is rejected where it is at fault, and not where a deadline passed, a server was away or someone stopped
    the run. Where the fleet did not get back, the rollout's record stays, and `reconcile` goes on from it.
    """
    trial = f"{record.model} version {record.version}"
    reason = str(cause) or f"The run was stopped ({type(cause).__name__})."
    # A server that is away is waited for: what failed may be its absence, and only the way back makes the fleet whole.
    patiently = stamina.RetryingCaller(attempts=None, timeout=fleet.deadline, wait_max=5.0)
    try:
        config: FleetConfig = patiently(TRANSPORT_ERRORS, _go_back, fleet, record, cause, reason)
    except SlipwayError as error:
        with contextlib.suppress(SlipwayError):
            _leave_to_others(fleet, record)
        return RolloutFailed(
            f"{trial} failed: {reason} Going back failed too: {error} Run `slipway reconcile` once that is mended."
        )
    return RolloutFailed(f"{trial} was taken back: {reason} {_said(config, record.model)}")


def _leave_to_others(fleet: Fleet, record: RolloutRecord) -> None:
    """Have the rollout taken for dead from now on, though this process lives."""
    if _is_ours(fleet, record):
        record = dataclasses.replace(record, deadline=now() - timedelta(seconds=1))
        fleet.store.put(layout.rollout_key(fleet.name, record.model), record.to_json())


def _go_back(fleet: Fleet, record: RolloutRecord, cause: BaseException, reason: str) -> FleetConfig:
    """Decide about the version, restore what was served before it, and end the rollout; safe to do twice."""
    # The verdict comes first: should this process die now, the rollout is not taken for one to be finished.
    if isinstance(cause, ValidationFailed | LoadFailed | RolloutFailed):
        _decide(fleet, record, "rejected", reason)
    elif _was_accepted(fleet, record):
        _decide(fleet, record, "retired", reason)
    config = restore_previous(fleet, record)
    replicas.await_config(fleet, config, record.model)
    end_rollout(fleet, record)
    return config


def recover_rollout(fleet: Fleet, record: RolloutRecord) -> str:
    """Finish or undo the rollout of a run that is dead; what was done, in one sentence.

    An accepted version had proven itself on every replica, and clients may have met it: its rollout is finished.
    Anything less is undone.
    """
    trial = f"{record.model} version {record.version}, which the dead run {record.run} was rolling out,"
    # Whoever comes back from the dead must find that the place is not its own any more, before the fleet is changed.
    record = dataclasses.replace(record, process=this_process(), deadline=_deadline(fleet))
    fleet.store.put(layout.rollout_key(fleet.name, record.model), record.to_json())
    if record.previous_config is None:
        end_rollout(fleet, record)
        return f"{trial} had changed nothing."
    if _was_accepted(fleet, record):
        _, live = make_plan(fleet, record).stages
        replicas.await_config(fleet, apply_stage(fleet, record, live), record.model)
        end_rollout(fleet, record)
        return f"{trial} had been accepted: it serves."
    config = restore_previous(fleet, record)
    replicas.await_config(fleet, config, record.model)
    end_rollout(fleet, record)
    return f"{trial} was taken back. {_said(config, record.model)}"


def _was_accepted(fleet: Fleet, record: RolloutRecord) -> bool:
    """Whether this very rollout accepted the version."""
    verdict = versions.verdict(fleet.store, record.model, record.version)
    return verdict is not None and (verdict.state, verdict.run) == ("accepted", record.run)


def _is_ours(fleet: Fleet, record: RolloutRecord) -> bool:
    found = rollout_under_way(fleet, record.model)
    return found is not None and (found.run, found.process) == (record.run, record.process)


def _require_ours(fleet: Fleet, record: RolloutRecord) -> None:
    if not _is_ours(fleet, record):
        raise RolloutConflict(
            f"Fleet {fleet.name!r}: the rollout of {record.model} version {record.version} was taken for dead, and "
            "taken back by another run. Begin it again."
        )


def _said(config: FleetConfig, model: str) -> str:
    serving = live_version(config, model)
    return f"Version {serving} serves as before." if serving else f"No version of {model} is served, as before."


find_live = step("find live replicas", with_fleet(replicas.require_live))
begin = step("begin rollout", with_fleet(begin_rollout))
plan = step("plan", with_fleet(make_plan))
serve = step("serve", with_fleet(apply_stage), "serve {record.model} {record.version} as {stage.endpoint}")
await_fleet = step("await every replica", with_fleet(replicas.await_config))
accept = step("accept", with_fleet(accept_version), "accept {record.model} {record.version}")
end = step("end rollout", with_fleet(end_rollout))
take_back = step("take back", with_fleet(take_back_version), "take back {record.model} {record.version}")
find_dead = step("find dead rollouts", with_fleet(dead_rollouts))
recover = step("recover", with_fleet(recover_rollout))
converge_servers = step("converge servers without agents", with_fleet(replicas.converge_without_agents))

"""Moving a fleet from one version of a model to another: the steps, each idempotent."""

import contextlib
import dataclasses
import logging
from datetime import datetime, timedelta

import stamina

from tasks.delivery.plan import Plan, Stage, plan_rollout, stage_entries
from tasks.errors import (
    GateFailed,
    RolloutConflict,
    SlipwayError,
    StoreUnreachable,
)
from tasks.fleet.config import Fleet, FleetConfig, live_version
from tasks.policy import Policy
from tasks.processes import this_process
from tasks.records import Manifest, RolloutRecord, Strategy, Verdict, VerdictState, now, strategy_named
from tasks.store import keys
from tasks.validation.compatibility import broken, held_against, require_reason
from tasks.validation.soak import soak_time
from tasks.versions import catalog

log = logging.getLogger(__name__)


def begin_rollout(
    fleet: Fleet, model: str, version: int, strategy: Strategy, run: str, policy: Policy, force: str | None = None
) -> RolloutRecord:
    """Take the model's place in the fleet for this run, with a record from which others can restore what was before.

    Args:
        policy: the rule that it goes by, whoever finishes or aborts it.
        force: a person's reason for rolling it out whatever the comparison with the live version says.

    Raises:
        NotFound: there is no such version.
        GateFailed: clients of the live version could not go on asking as they do; nothing was changed.
        RolloutConflict: another rollout of this model is under way.
        InvalidInput: `force` gives no reason, or there is no such strategy.
    """
    require_reason(force)
    strategy = strategy_named(strategy)
    manifest = catalog.manifest(fleet.store, model, version)
    deadline = deadline_of(fleet.under(policy))
    record = RolloutRecord(model, version, strategy, run, this_process(), deadline, forced=force, policy=policy)
    key = keys.rollout_key(fleet.name, model)
    # An earlier attempt of this run may have created it, and lost the answer.
    if not fleet.store.create(key, record.to_json()) and not is_ours(fleet, record):
        other = fleet.rollout_under_way(model)
        which = (
            f"version {other.version} by run {other.run}, since {other.started:%H:%M:%S} UTC" if other else "just ended"
        )
        raise RolloutConflict(
            f"Fleet {fleet.name!r}: another rollout of {model} is under way ({which}). "
            "Wait for it to end and try again."
        )
    try:
        # From here on nobody else changes this model's entry, so what is read now is what an abort restores.
        current = fleet.newest()
        live = None if force is not None else held_against(fleet.store, manifest, live_version(current, model))
        if live is not None:
            _require_unbroken(manifest, live)
        soak = soak_time(fleet.store, model, version, strategy, policy)
        record = dataclasses.replace(
            record,
            deadline=record.deadline + timedelta(seconds=soak),
            previous_config=current.number,
            against=live.version if live is not None else None,
            soak=soak,
        )
        fleet.store.put(key, record.to_json())
    except BaseException:
        with contextlib.suppress(SlipwayError):
            end_rollout(fleet, record)
        raise
    return record


def deadline_of(fleet: Fleet) -> datetime:
    """When a rollout that begins now must have ended: two configs to reach, two validations, and an abort."""
    return now() + timedelta(seconds=5 * fleet.deadline)


def _require_unbroken(new: Manifest, live: Manifest) -> None:
    found = broken(new.signatures, live.signatures)
    if found:
        raise GateFailed(
            f"{new.model} version {new.version} breaks what clients of version {live.version}, which serves, ask: "
            f"{'; '.join(found)}. Nothing was changed; `--force REASON` rolls it out anyway."
        )


def end_rollout(fleet: Fleet, record: RolloutRecord) -> None:
    """Free the model's place in the fleet, if it is still this rollout's. Idempotent."""
    for attempt in stamina.retry_context(on=StoreUnreachable, attempts=4, timeout=None):
        with attempt:
            if is_ours(fleet, record):
                fleet.store.delete_once(keys.rollout_key(fleet.name, record.model))


def make_plan(fleet: Fleet, record: RolloutRecord) -> Plan:
    """What the rollout will do, from what the fleet served when it began: trial, and final stage."""
    return plan_rollout(fleet.read(record.previous_config or 0), record.model, record.version, record.strategy)


def serve(fleet: Fleet, record: RolloutRecord, stage: Stage) -> FleetConfig:
    """Ask the fleet for one stage of the plan.

    Raises:
        RolloutConflict: another run took this rollout for dead, and aborted or finished it.
    """
    entries = stage_entries(stage, fleet.base_path(record.model))
    note = f"run {record.run}: {stage.name} {record.model} {record.version}"
    return fleet.change(entries, note, require_turn=lambda: require_ours(fleet, record))


def accept(fleet: Fleet, record: RolloutRecord) -> None:
    """Write that the version was accepted: from here on clients may meet it, and a rollout that dies is finished."""
    forced = f"; forced: {record.forced}" if record.forced is not None else ""
    decide(fleet, record, "accepted", f"its served answers are those of the trained model{forced}")


def decide(fleet: Fleet, record: RolloutRecord, state: VerdictState, reason: str) -> None:
    verdict = Verdict(record.model, record.version, state, reason, record.run, policy=record.policy)
    catalog.decide(fleet.store, verdict)
    log.info("%s version %d %s: %s", record.model, record.version, state, reason)


def is_ours(fleet: Fleet, record: RolloutRecord) -> bool:
    found = fleet.rollout_under_way(record.model)
    if found is None:
        return False
    # One run may roll out several versions, even at once.
    return (found.run, found.process, found.version) == (record.run, record.process, record.version)


def require_ours(fleet: Fleet, record: RolloutRecord) -> None:
    if not is_ours(fleet, record):
        raise RolloutConflict(
            f"Fleet {fleet.name!r}: the rollout of {record.model} version {record.version} was taken for dead by "
            "another run, which aborted or finished it. Begin it again."
        )

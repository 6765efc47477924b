"""Aborting a rollout that failed, and finishing or aborting one whose run is dead."""

import contextlib
import dataclasses
import functools
import logging

import stamina

from tasks.delivery import strategies
from tasks.delivery.plan import entry_to_restore
from tasks.delivery.rollout import (
    RolloutEnd,
    decide,
    end_rollout,
    finish_rollout,
    is_ours,
    longest,
    make_plan,
    require_ours,
    serve,
)
from tasks.errors import (
    TRANSPORT_ERRORS,
    Corrupt,
    InvalidInput,
    RolloutConflict,
    SlipwayError,
    ValidationFailed,
    VersionFailed,
)
from tasks.fleet import replicas
from tasks.fleet.config import Fleet, FleetConfig, live_version
from tasks.fleet.converge import model_in_store
from tasks.names import CANDIDATE_SUFFIX, candidate_name
from tasks.processes import is_gone, this_process
from tasks.records import RolloutRecord, Verdict
from tasks.store import keys
from tasks.versions import catalog

log = logging.getLogger(__name__)


def find_dead_rollouts(fleet: Fleet, model: str | None = None) -> list[RolloutRecord]:
    """Rollouts, of `model` or of all models, whose run is gone, or that were due to end long before now.

    One whose record cannot be read is left as it is, with a warning: it stops the rollouts of its own model alone.
    """
    found = fleet.store.records(keys.rollouts_prefix(fleet.name), RolloutRecord)
    return [
        record
        for there, record in found
        if there.key == keys.rollout_key(fleet.name, record.model)
        and model in (None, record.model)
        and (record.overdue(there.age) or is_gone(record.process))
    ]


def drop_orphans(fleet: Fleet) -> list[str]:
    """Take away each version on trial that no rollout owns, its record being lost; what was done, in sentences."""

    def require_lost(model: str) -> None:
        if fleet.rollout_under_way(model) is not None:
            raise RolloutConflict(f"Fleet {fleet.name!r}: a rollout of {model} has begun.")

    done = []
    for entry in fleet.newest().models.model_config_list.config:
        model = entry.name.removesuffix(CANDIDATE_SUFFIX)
        if model == entry.name or model_in_store(entry, fleet.store) != model:
            continue
        with contextlib.suppress(RolloutConflict, Corrupt):
            require_lost(model)
            fleet.change({entry.name: None}, f"drop {entry.name}", require_turn=functools.partial(require_lost, model))
            done.append(f"{entry.name} is not served any more: the record of its rollout was lost.")
    return done


def clear_unreadable(fleet: Fleet, model: str) -> str:
    """Remove the record of a rollout of `model` that cannot be read; what was done, in a sentence.

    Raises:
        InvalidInput: it can be read, so it is finished or aborted like any other; or there is none.
    """
    try:
        record = fleet.rollout_under_way(model)
    except Corrupt:
        fleet.store.delete(keys.rollout_key(fleet.name, model))
        return (
            f"The record of a rollout of {model} in fleet {fleet.name} is removed. If it had changed the fleet, the "
            f"model's next rollout brings that right: `slipway plan {model} VERSION` shows what it would do."
        )
    if record is None:
        raise InvalidInput(f"No rollout of {model} is under way in fleet {fleet.name!r}: there is nothing to clear.")
    raise InvalidInput(
        f"The rollout of {model} {record.version} by run {record.run} can be read: once its run has died, "
        "`slipway reconcile` finishes or aborts it."
    )


def restore(fleet: Fleet, record: RolloutRecord) -> FleetConfig:
    """Ask the fleet for what it served of this model before the rollout; other models' entries stay as they are now."""
    before = fleet.read(record.previous_config or 0)
    entries = {record.model: entry_to_restore(before, record.model), candidate_name(record.model): None}
    note = f"run {record.run}: abort {record.model} {record.version}"
    return fleet.change(entries, note, require_turn=lambda: require_ours(fleet, record), always=True)


def abort(fleet: Fleet, record: RolloutRecord, cause: BaseException) -> RolloutEnd:
    """Restore what the fleet served before, prove it on every replica, and say so.

    The version is rejected if it is at fault: it answers wrongly, or no replica could load it though each tried. What
    else may end a rollout (a deadline, a server or a replica that is away or cannot fetch it, someone who stopped the
    run) says nothing about it: it stays published, with the reason. If the fleet could not be restored, the rollout's
    record stays, and `reconcile` goes on from it. A run that has lost its place changes nothing.
    """
    if isinstance(cause, RolloutConflict):
        return RolloutEnd(record, None, str(cause))
    reason = str(cause) or f"The run was stopped ({type(cause).__name__})."
    fleet = fleet.under(record.policy)
    # Wait for a server that is away: its absence may be what failed, and the fleet is whole only once it is restored.
    patiently = stamina.RetryingCaller(attempts=None, timeout=fleet.deadline, wait_max=5.0)
    try:
        end: RolloutEnd = patiently(TRANSPORT_ERRORS, _restore_and_end, fleet, record, cause, reason)
    except SlipwayError as error:
        with contextlib.suppress(SlipwayError):
            _leave_to_others(fleet, record)
        sentence = (
            f"{record.model} version {record.version} failed: {reason} Restoring what was served before failed too: "
            f"{error} Run `slipway reconcile` once that is fixed."
        )
        return RolloutEnd(record, None, sentence)
    return end


def _leave_to_others(fleet: Fleet, record: RolloutRecord) -> None:
    """Make the rollout count as dead from now on, though this process is alive."""
    if is_ours(fleet, record):
        fleet.store.put(keys.rollout_key(fleet.name, record.model), record.lasting(-1.0).to_json())


def _restore_and_end(fleet: Fleet, record: RolloutRecord, cause: BaseException, reason: str) -> RolloutEnd:
    """Decide about the version, restore what was served before it, and end the rollout. Idempotent."""
    # The verdict comes first: if this process dies after it, `reconcile` aborts the rollout and does not finish it.
    decided: tuple[Verdict, ...] = ()
    if isinstance(cause, ValidationFailed | VersionFailed):
        decided = (decide(fleet, record, "rejected", reason),)
    elif _accepted(_decided(fleet, record)):
        decided = (decide(fleet, record, "retired", reason),)
    elif catalog.undecided(fleet.store, record.model, record.version):
        decide(fleet, record, "published", f"a rollout told nothing about it: {reason}")
    config = restore(fleet, record)
    replicas.await_config(fleet, config, record.model)
    end_rollout(fleet, record)
    trial = f"{record.model} version {record.version}"
    sentence = f"The rollout of {trial} was aborted: {reason} {serving_sentence(config, record.model)}"
    return RolloutEnd(record, "aborted", sentence, decided)


def recover_rollout(fleet: Fleet, record: RolloutRecord) -> RolloutEnd:
    """Finish or abort the rollout of a run that is dead.

    An accepted version had proven itself on every replica, and clients may have met it: its rollout is finished, by the
    last stage of its plan. Any other is aborted. One by a strategy that is not known here, which a newer Slipway began,
    is left to that.
    """
    trial = f"{record.model} version {record.version}, which the dead run {record.run} was rolling out,"
    if record.strategy not in strategies.known():
        known = ", ".join(strategies.known())
        left = (
            f"{trial} goes by strategy {record.strategy!r}, which is not known here (known: {known}). It is left as it "
            "is: run `slipway reconcile` of the Slipway that began it."
        )
        log.warning("Fleet %s: %s", fleet.name, left)
        return RolloutEnd(record, None, left)
    # By its own policy; but whoever asks for fewer replicas since, because some are gone, means this rollout too.
    quorum, fleet = fleet.quorum, fleet.under(record.policy)
    fleet.quorum = min(fleet.quorum, quorum)
    # Taken over before the fleet is changed: a run that was only taken for dead then finds that it has lost its place.
    record = dataclasses.replace(record, process=this_process()).lasting(longest(fleet))
    fleet.store.put(keys.rollout_key(fleet.name, record.model), record.to_json())
    if record.previous_config is None:
        end_rollout(fleet, record)
        return RolloutEnd(record, None, f"{trial} had changed nothing.")
    decided = _decided(fleet, record)
    if _accepted(decided):
        final = make_plan(fleet, record).stages[-1]
        replicas.await_config(fleet, serve(fleet, record, final), record.model)
        finished = finish_rollout(fleet, record)
        sentence = f"{trial} had been accepted: it serves."
        return dataclasses.replace(finished, sentence=sentence, verdicts=(*decided, *finished.verdicts))
    config = restore(fleet, record)
    replicas.await_config(fleet, config, record.model)
    end_rollout(fleet, record)
    sentence = f"The rollout of {trial} was aborted. {serving_sentence(config, record.model)}"
    return RolloutEnd(record, "aborted", sentence, decided)


def _decided(fleet: Fleet, record: RolloutRecord) -> tuple[Verdict, ...]:
    """What this very rollout decided about its version, if anything."""
    verdict = catalog.verdict_by(fleet.store, record.model, record.version, record.run, fleet.name)
    return (verdict,) if verdict is not None else ()


def _accepted(decided: tuple[Verdict, ...]) -> bool:
    return any(verdict.state == "accepted" for verdict in decided)


def serving_sentence(config: FleetConfig, model: str) -> str:
    serving = live_version(config, model)
    return f"Version {serving} serves as before." if serving else f"No version of {model} is served, as before."

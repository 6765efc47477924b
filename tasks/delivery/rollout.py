"""Moving a fleet from one version of a model to another: the steps, each idempotent."""

import contextlib
import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import stamina

from tasks.delivery import strategies
from tasks.delivery.plan import Plan, plan_rollout, stage_entries
from tasks.delivery.stages import Stage
from tasks.errors import (
    GateFailed,
    RolloutConflict,
    SlipwayError,
    StoreUnreachable,
)
from tasks.fleet import replicas
from tasks.fleet.config import Fleet, FleetConfig, live_version
from tasks.policy import Policy
from tasks.processes import this_process
from tasks.records import Manifest, Record, RolloutRecord, Verdict, VerdictState, now
from tasks.store import keys
from tasks.validation.compatibility import broken, held_against, require_reason
from tasks.validation.soak import soak_time
from tasks.versions import catalog

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RolloutEnd(Record):
    """How a rollout ended."""

    record: RolloutRecord
    outcome: Literal["finished", "aborted"] | None  # None: it had changed nothing, or is not over
    sentence: str  # what was done, and what serves now
    verdicts: tuple[Verdict, ...] = ()  # what it decided, as far as that was not told before it ended

    @property
    def versions(self) -> list[int]:
        """The versions that it decided about, its own first."""
        return [*dict.fromkeys([self.record.version, *(verdict.version for verdict in self.verdicts)])]


def begin_rollout(
    fleet: Fleet, model: str, version: int, strategy: str, run: str, policy: Policy, force: str | None = None
) -> RolloutRecord:
    """Take the model's place in the fleet for this run, with a record from which others can restore what was before.

    Args:
        policy: the rule that it goes by, whoever finishes or aborts it.
        force: a person's reason for rolling it out whatever the comparison with the live version says.

    Raises:
        NotFound: there is no such version.
        GateFailed: clients of the live version could not go on asking as they do; nothing was changed.
        RolloutConflict: another rollout of this model is under way.
        InvalidInput: `force` gives no reason, or there is no such strategy, or its plan is not safe.
    """
    require_reason(force)
    fleet.trust.require_signer()
    strategy = strategies.present_name(strategy)
    manifest = catalog.manifest(fleet.store, model, version)
    record = RolloutRecord(model, version, strategy, run, this_process(), now(), forced=force, policy=policy)
    record = record.lasting(longest(fleet.under(policy)))
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
        record = dataclasses.replace(
            record,
            previous_config=current.number,
            against=live.version if live is not None else None,
            soak=soak_time(fleet.store, model, version, policy),
        )
        stages = _plan(fleet, current, record).stages
        record = record.lasting(longest(fleet.under(policy), stages))
        fleet.store.put(key, record.to_json())
    except BaseException:
        with contextlib.suppress(SlipwayError):
            end_rollout(fleet, record)
        raise
    return record


def longest(fleet: Fleet, stages: Sequence[Stage] = ()) -> float:
    """How long a rollout may take, seconds: a config to reach and a validation for each stage, and an abort.

    As long as its stages are not known, or one that is dead is recovered, it may take as long as one of two.
    """
    configs = max(2, len(stages))
    return (2 * configs + 1) * fleet.deadline + sum(stage.soak for stage in stages)


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


def finish_rollout(fleet: Fleet, record: RolloutRecord) -> RolloutEnd:
    """End a rollout whose version serves. Idempotent.

    A version that the fleet went back from is retired: a rollback serves it again only if told to.
    """
    retired, left = [], live_version(fleet.read(record.previous_config or 0), record.model) or 0
    before = catalog.verdict(fleet.store, record.model, left) if left > record.version else None
    if before is not None and before.state == "accepted" and is_ours(fleet, record):
        reason = f"fleet {fleet.name} went back from it to version {record.version}"
        retired.append(_decide(fleet, record, left, "retired", reason, before.policy))
    end_rollout(fleet, record)
    sentence = f"{record.model} version {record.version} is accepted and serves."
    return RolloutEnd(record, "finished", sentence, tuple(retired))


def make_plan(fleet: Fleet, record: RolloutRecord) -> Plan:
    """What the rollout will do, from what the fleet served when it began.

    Raises:
        InvalidInput: a newer Slipway began it, by a strategy that is not known here.
    """
    return _plan(fleet, fleet.read(record.previous_config or 0), record)


def _plan(fleet: Fleet, before: FleetConfig, record: RolloutRecord) -> Plan:
    present = [report.replica for report in replicas.reporting(fleet)]
    return plan_rollout(before, record.model, record.version, record.strategy, present, record.soak)


def serve(fleet: Fleet, record: RolloutRecord, stage: Stage) -> FleetConfig:
    """Ask the fleet for one stage of the plan.

    Raises:
        RolloutConflict: another run took this rollout for dead, and aborted or finished it.
    """
    entries = stage_entries(stage, fleet.base_path(record.model))
    note = f"run {record.run}: {stage.name} {record.model} {record.version}"
    return fleet.change(entries, note, require_turn=lambda: require_ours(fleet, record), only=stage.only)


def accept(fleet: Fleet, record: RolloutRecord) -> Verdict:
    """Write that the version was accepted: from here on clients may meet it, and a rollout that dies is finished.

    Raises:
        RolloutConflict: another run took this rollout for dead.
    """
    forced = f"; forced: {record.forced}" if record.forced is not None else ""
    return decide(fleet, record, "accepted", f"its served answers are those of the trained model{forced}")


def decide(fleet: Fleet, record: RolloutRecord, state: VerdictState, reason: str) -> Verdict:
    """Write what this rollout says of its version.

    Raises:
        RolloutConflict: another run took this rollout for dead, so what it says does not count any more.
    """
    return _decide(fleet, record, record.version, state, reason, record.policy)


def _decide(
    fleet: Fleet, record: RolloutRecord, version: int, state: VerdictState, reason: str, policy: Policy | None
) -> Verdict:
    verdict = Verdict(record.model, version, state, reason, record.run, policy=policy, fleet=fleet.name)
    catalog.decide(fleet.store, verdict, lambda: require_ours(fleet, record))
    log.info("%s version %d %s: %s", record.model, version, state, reason)
    return verdict


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

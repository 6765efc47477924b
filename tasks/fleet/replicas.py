"""The replicas of a fleet: their latest reports, and waiting until they have reached a config."""

import difflib
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from tasks.errors import (
    DeadlineExceeded,
    InvalidInput,
    InvalidSettings,
    NoReplica,
    NotFound,
    RolloutFailed,
    SignatureInvalid,
    VersionFailed,
)
from tasks.fleet import agentless, lost
from tasks.fleet.config import Fleet, FleetConfig, fleet_names, labels_of, servings
from tasks.names import candidate_name
from tasks.policy import Policy
from tasks.records import Record, ReplicaReport, now
from tasks.store import keys

HEARTBEAT = 30.0  # seconds between two reports of a replica while nothing changes
LONGEST_PAUSE = 10.0  # seconds between two attempts of an agent at what fails
LEASE = timedelta(seconds=2.5 * HEARTBEAT)  # a replica that has been silent for this long is not waited for
_POLL = 0.2  # seconds between two looks at the reports
_AWAY = LONGEST_PAUSE + 2.0  # seconds in which an agent whose store was away reports again
_NAMED = 5  # silent replicas that a message names

Labels = Mapping[str, Mapping[str, int]]  # by model, and then by label: a version's number


def reports(fleet: Fleet) -> list[ReplicaReport]:
    """The latest reports of all replicas that ever reported, sorted by name; servers without agents are asked.

    The store's clock alone says how old each is: what the clock of its machine says does not matter.
    """
    if fleet.without_agents:
        return agentless.reports(fleet, fleet.without_agents)
    found = fleet.store.records(keys.replicas_prefix(fleet.name), ReplicaReport)
    return [replace(report, time=now() - timedelta(seconds=max(0.0, there.age))) for there, report in found]


def reporting(fleet: Fleet) -> list[ReplicaReport]:
    """The latest reports of the replicas whose lease has not run out."""
    return [r for r in reports(fleet) if now() - r.time <= LEASE]


def forget_replica(fleet: Fleet, replica: str) -> None:
    """Remove the report of a replica that is gone.

    Raises:
        NotFound: it never reported.
        InvalidInput: it still reports.
    """
    if replica in {report.replica for report in reporting(fleet)}:
        raise InvalidInput(f"Replica {replica} of fleet {fleet.name!r} still reports: stop it first.")
    there = {key: key.rpartition("/")[2] for key in fleet.store.keys(keys.replicas_prefix(fleet.name))}
    key = keys.replica_key(fleet.name, replica)
    if key not in there:
        raise NotFound(
            f"Fleet {fleet.name!r} has no replica {replica!r}. It has: "
            f"{', '.join(name.removesuffix('.json') for name in there.values()) or 'none'}."
        )
    fleet.store.delete(key)


def require_replicas(fleet: Fleet, new_fleet: bool = False, patience: float = _AWAY) -> None:
    """Raise unless a replica of the fleet reports, or is expected to: what no replica serves cannot be validated.

    Args:
        new_fleet: its replicas are about to start.
        patience: how long replicas that have fallen silent may take to report again, seconds.

    Raises:
        NoReplica: no replica reports.
        StoreWentBack: the store lost what a replica serves.
        InvalidSettings: two of its replicas report one address.
    """
    end = time.monotonic() + patience
    found = reporting(fleet)
    lost.require_whole(fleet, found)
    _require_addresses(fleet, found)
    while not new_fleet and not reporting(fleet):
        if time.monotonic() > end or not reports(fleet):
            raise NoReplica(
                f"{no_replica_message(fleet)} Nothing was changed. Where its replicas are about to start, a release or "
                "rollout with `--new-fleet` (`new_fleet` in the form) waits for the first one."
            )
        time.sleep(_POLL)


def _require_addresses(fleet: Fleet, found: Sequence[ReplicaReport]) -> None:
    """Raise if two replicas report one address: one would be asked twice, and the other never."""
    by_address: dict[str, str] = {}
    for report in found:
        for address in {report.grpc_address, report.rest_url.partition("://")[2]} - {""}:
            other = by_address.setdefault(address, report.replica)
            if other != report.replica:
                raise InvalidSettings(
                    f"Replicas {other} and {report.replica} of fleet {fleet.name!r} both report the address {address}, "
                    "so one of them would never be asked. On the machine of each, let SLIPWAY_ADVERTISE_HOST say how "
                    "other machines reach it. Nothing was changed."
                )


def no_replica_message(fleet: Fleet) -> str:
    """Why no replica would serve what is rolled out to a fleet, none of whose replicas reports."""
    found = reports(fleet)
    if found:
        latest = sorted(found, key=lambda report: report.time, reverse=True)[:_NAMED]
        silent = "; ".join(f"{r.replica} reported {_ago(r)}" + (f" ({r.error})" if r.error else "") for r in latest)
        more = f", and {len(found) - _NAMED} more before" if len(found) > _NAMED else ""
        return f"No replica of fleet {fleet.name!r} reports: {silent}{more}. Start one, with its agent."
    fleets = fleet_names(fleet.store)
    others = [name for name in fleets if fleet.store.keys(keys.replicas_prefix(name))]
    known = f"Fleets with replicas: {', '.join(others)}." if others else "No fleet has one: `make up` starts one here."
    return f"Fleet {fleet.name!r} has no replica: none has ever reported.{_guess(fleet, others)} {known}"


def unknown_message(fleet: Fleet) -> str | None:
    """That a fleet does not exist, and which one may be meant; None if the store has anything of it."""
    fleets = fleet_names(fleet.store)
    if fleet.name in fleets:
        return None
    known = f"Fleets: {', '.join(fleets)}." if fleets else "There is no fleet yet."
    return (
        f"Fleet {fleet.name!r} does not exist: nothing was rolled out to it, and no replica of it has reported."
        f"{_guess(fleet, fleets)} {known}"
    )


def _guess(fleet: Fleet, others: Sequence[str]) -> str:
    meant = difflib.get_close_matches(fleet.name, others, n=1)
    return f" Is {meant[0]!r} meant?" if meant else ""


def _ago(report: ReplicaReport) -> str:
    return f"{(now() - report.time).total_seconds():.0f} s ago"


@dataclass(frozen=True)
class ReplicaState(Record):
    """A replica's latest report, and its state with respect to the fleet's newest config."""

    report: ReplicaReport
    state: Literal["ready", "behind", "failing", "silent"]
    silent: float  # seconds since it reported
    labels: Labels  # those of the config that it has reached

    @property
    def serves(self) -> str:
        """What it serves, in one line, each version with its labels."""
        found = [
            (name, s.version)
            for name, replica_states in self.report.models.items()
            for s in replica_states
            if s.state == "AVAILABLE"
        ]
        return ", ".join(f"{name} {version}{self._labels(name, version)}" for name, version in found) or "nothing"

    def _labels(self, name: str, version: int) -> str:
        found = labels_of(self.labels.get(name, {}), version)
        return f" ({', '.join(found)})" if found else ""


def replica_states(fleet: Fleet) -> list[ReplicaState]:
    """The state of every replica that ever reported, sorted by name."""
    newest, found = fleet.newest().number, reports(fleet)
    configs = {number: _config(fleet, number) for number in {report.config for report in found}}
    return [judge(r, newest, now(), _labels(fleet.seen_by(r.replica, configs[r.config]))) for r in found]


def judge(report: ReplicaReport, newest: int, time: datetime, labels: Labels) -> ReplicaState:
    """A replica's state at `time`.

    Args:
        newest: number of the fleet's newest config.
        labels: those of the config that the replica has reached.
    """
    silent = time - report.time
    if silent > LEASE:
        return ReplicaState(report, "silent", silent.total_seconds(), labels)
    state: Literal["ready", "behind", "failing"] = "ready" if report.config >= newest else "behind"
    return ReplicaState(report, "failing" if report.error else state, silent.total_seconds(), labels)


def _config(fleet: Fleet, number: int) -> FleetConfig:
    """A config; an empty one if a replica reports a number that the fleet never had, or whose config is not signed."""
    try:
        return fleet.read(number)
    except (NotFound, SignatureInvalid):
        return fleet.read(0)


def _labels(config: FleetConfig) -> Labels:
    return {name: serving.labels for name, serving in servings(config).items()}


def await_config(
    fleet: Fleet, config: FleetConfig, model: str, policy: Policy | None = None, only: Sequence[str] = ()
) -> list[ReplicaReport]:
    """Wait until enough of the reporting replicas have reached `config`, and return the reports of those that have.

    Enough is the quorum of them, the policy's or else the fleet's own. Servers without agents are brought to it first.
    A replica that is held up by another model than `model` is waited for: the rollout of that model will be aborted.

    Args:
        policy: the rollout's.
        only: the replicas that are waited for, if not all: those that `config` changes.

    Raises:
        VersionFailed: no replica could load the version, by the version's own fault.
        RolloutFailed: too many replicas could not reach it; carries the first one's own error.
        DeadlineExceeded: too few did within the deadline, or no replica reports.
        StoreWentBack: the store lost what a replica serves.
    """
    fleet = fleet.under(policy)
    end = time.monotonic() + fleet.deadline
    while True:
        found = agentless.converge(fleet, fleet.without_agents) if fleet.without_agents else reporting(fleet)
        present = [r for r in found if not only or r.replica in only]
        reached = [r for r in present if r.config >= config.number]
        failed = [r for r in present if r not in reached and fails_at(r, config.number, model)]
        needed = needed_for(fleet.quorum, len(present))
        if any(report.config > config.number for report in reached):
            lost.require_whole(fleet, reached)
        if present and len(reached) >= needed:
            return reached
        pending = len(present) - len(reached) - len(failed)
        if failed and len(present) - len(failed) < needed:
            blamed = [report for report in failed if report.error_by_version]
            # What one replica cannot load and another can is a matter of that replica: the others are waited for.
            if not blamed or not pending or time.monotonic() > end:
                kind = VersionFailed if len(blamed) == len(present) else RolloutFailed
                why = (blamed or failed)[0]
                raise kind(f"Fleet {fleet.name!r}: replica {why.replica}: {why.error}")
        elif time.monotonic() > end:
            raise DeadlineExceeded(_too_late(fleet, config, [r for r in present if r not in reached], only))
        time.sleep(_POLL)


def fails_at(report: ReplicaReport, config: int, model: str) -> bool:
    """Whether a replica could not come to config number `config`, and `model` or no single model is at fault."""
    concerned = report.error_model in (None, model, candidate_name(model))
    return report.error_config is not None and report.error_config >= config and concerned


def needed_for(quorum: float, present: int) -> int:
    """How many of `present` reporting replicas must reach a config: `quorum` of them, rounded up, and at least one."""
    # Rounded first: 0.7 * 10 is a little more than 7 in floating point.
    return max(1, math.ceil(round(quorum * present, 9)))


def converge_without_agents(fleet: Fleet) -> list[str]:
    """Bring servers that have no agents to the newest config; returns a sentence for each that does not reach it.

    A fleet with agents is left to them.
    """
    found = agentless.converge(fleet, fleet.without_agents) if fleet.without_agents else []
    return [f"Replica {r.replica} stays at config {r.config}: {r.error}" for r in found if r.error is not None]


def _too_late(fleet: Fleet, config: FleetConfig, behind: Sequence[ReplicaReport], only: Sequence[str]) -> str:
    if not behind:
        which = f" of {', '.join(only)}" if only else ""
        return (
            f"Fleet {fleet.name!r} has no replica that reports: none{which} did in the last {LEASE.seconds} s. "
            "Start one with its agent (`make up` on one machine)."
        )
    lagging = "; ".join(f"{r.replica} is at config {r.config}" + (f" ({r.error})" if r.error else "") for r in behind)
    return (
        f"Fleet {fleet.name!r} did not reach config {config.number} within {fleet.deadline:g} s: {lagging}. "
        "See `slipway replicas`."
    )

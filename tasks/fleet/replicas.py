"""The replicas of a fleet: what they last said, and waiting until they have come to a config."""

import difflib
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from tasks.errors import DeadlineExceeded, NoLiveReplica, NotFound, RolloutFailed
from tasks.fleet import agentless
from tasks.fleet.config import Fleet, FleetConfig, labels_of, servings
from tasks.names import candidate_name
from tasks.records import Record, ReplicaReport, now
from tasks.store import keys

# A replica reports every five seconds; one that has been silent for this long is not waited for.
LEASE = timedelta(seconds=30)
_POLL = 0.2  # seconds between two looks at the reports
_AWAY = 12.0  # seconds; an agent whose store was away looks for it again at least every ten
_TOLD = 5  # silent replicas that a message names

Labels = Mapping[str, Mapping[str, int]]  # by model, and then by label: a version's number


def reports(fleet: Fleet) -> list[ReplicaReport]:
    """The last words of all replicas that ever reported, sorted by name; servers without agents are asked now."""
    if fleet.without_agents:
        return agentless.reports(fleet, fleet.without_agents)
    found = []
    for key in fleet.store.keys(keys.replicas_prefix(fleet.name)):
        data = fleet.store.find(key)
        if data is not None:
            found.append(ReplicaReport.from_json(data, fleet.store.uri(key)))
    return found


def live(fleet: Fleet) -> list[ReplicaReport]:
    """The last words of the replicas whose lease has not run out."""
    return [r for r in reports(fleet) if now() - r.time <= LEASE]


def require_live(fleet: Fleet, new_fleet: bool = False, patience: float = _AWAY) -> None:
    """Do nothing where a replica of the fleet is live, or may yet come: what nobody serves cannot be validated.

    Args:
        new_fleet: its replicas are about to start.
        patience: how long replicas that have fallen silent may take to report again, seconds.

    Raises:
        NoLiveReplica: none is live.
    """
    end = time.monotonic() + patience
    while not new_fleet and not live(fleet):
        if time.monotonic() > end or not reports(fleet):
            raise NoLiveReplica(
                f"{without_live(fleet)} Nothing was changed. Where its replicas are about to start, a release or "
                "rollout with `--new-fleet` (`new_fleet` in the form) waits for the first one."
            )
        time.sleep(_POLL)


def without_live(fleet: Fleet) -> str:
    """Why nobody would serve what is rolled out to a fleet of which no replica is live."""
    found = reports(fleet)
    if found:
        latest = sorted(found, key=lambda report: report.time, reverse=True)[:_TOLD]
        told = "; ".join(f"{r.replica} reported {_ago(r)}" + (f" ({r.error})" if r.error else "") for r in latest)
        more = f", and {len(found) - _TOLD} more before" if len(found) > _TOLD else ""
        return f"No replica of fleet {fleet.name!r} is live: {told}{more}. Start one, with its agent."
    names = fleet.store.children(keys.fleets_prefix())
    others = [name for name in names if fleet.store.keys(keys.replicas_prefix(name))]
    meant = difflib.get_close_matches(fleet.name, others, n=1)
    guess = f" Is {meant[0]!r} meant?" if meant else ""
    known = f"Fleets with replicas: {', '.join(others)}." if others else "No fleet has one: `make up` starts one here."
    return f"Fleet {fleet.name!r} has no replica: none has ever reported.{guess} {known}"


def _ago(report: ReplicaReport) -> str:
    return f"{(now() - report.time).total_seconds():.0f} s ago"


@dataclass(frozen=True)
class ReplicaState(Record):
    """A replica's last word, and what to think of it."""

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
    """All replicas that ever reported, sorted by name, each with how it stands to the fleet's newest config."""
    newest, found = fleet.newest().number, reports(fleet)
    labels = {number: _labels(fleet, number) for number in {report.config for report in found}}
    return [judge(report, newest, now(), labels[report.config]) for report in found]


def judge(report: ReplicaReport, newest: int, time: datetime, labels: Labels) -> ReplicaState:
    """How a replica stands at `time` to the newest config; `labels` are those of the config that it has reached."""
    silent = time - report.time
    if silent > LEASE:
        return ReplicaState(report, "silent", silent.total_seconds(), labels)
    state: Literal["ready", "behind", "failing"] = "ready" if report.config >= newest else "behind"
    return ReplicaState(report, "failing" if report.error else state, silent.total_seconds(), labels)


def _labels(fleet: Fleet, number: int) -> Labels:
    """The labels of a config; none where a replica reports a number that the fleet never had."""
    try:
        return {name: serving.labels for name, serving in servings(fleet.read(number)).items()}
    except NotFound:
        return {}


def await_config(fleet: Fleet, config: FleetConfig, model: str) -> list[ReplicaReport]:
    """Wait until enough of the live replicas have reached `config`, and return the reports of those that have.

    Enough is the fleet's quorum of them. Servers without agents are brought to it first. A replica that is held up by
    another model than `model` is waited for: whoever rolls that one out will take it back.

    Raises:
        RolloutFailed: too many replicas could not reach it; carries the first one's own words.
        DeadlineExceeded: too few did within the fleet's deadline, or none is alive.
    """
    end = time.monotonic() + fleet.deadline
    while True:
        alive = agentless.converge(fleet, fleet.without_agents) if fleet.without_agents else live(fleet)
        reached = [r for r in alive if r.config >= config.number]
        failed = [r for r in alive if r not in reached and fails_at(r, config.number, model)]
        needed = needed_for(fleet.quorum, len(alive))
        if alive and len(reached) >= needed:
            return reached
        if failed and len(alive) - len(failed) < needed:
            raise RolloutFailed(f"Fleet {fleet.name!r}: replica {failed[0].replica}: {failed[0].error}")
        if time.monotonic() > end:
            raise DeadlineExceeded(_too_late(fleet, config, [r for r in alive if r not in reached]))
        time.sleep(_POLL)


def fails_at(report: ReplicaReport, config: int, model: str) -> bool:
    """Whether a replica could not come to config number `config`, and `model` or no single model is at fault."""
    mine = report.error_model in (None, model, candidate_name(model))
    return report.error_config is not None and report.error_config >= config and mine


def needed_for(quorum: float, alive: int) -> int:
    """How many of the live replicas must reach a config: `quorum` of them, rounded up, and one at least."""
    # Rounded first, for 0.7 of 10 is a little more than 7 to a computer.
    return max(1, math.ceil(round(quorum * alive, 9)))


def converge_without_agents(fleet: Fleet) -> list[str]:
    """Bring servers that have no agents to the newest config; where one does not come to it, that in one sentence.

    A fleet with agents is left to them.
    """
    found = agentless.converge(fleet, fleet.without_agents) if fleet.without_agents else []
    return [f"Replica {r.replica} stays at config {r.config}: {r.error}" for r in found if r.error is not None]


def _too_late(fleet: Fleet, config: FleetConfig, behind: Sequence[ReplicaReport]) -> str:
    if not behind:
        return (
            f"Fleet {fleet.name!r} has no live replica: none has reported in the last {LEASE.seconds} s. "
            "Start one with its agent (`make up` on one machine)."
        )
    told = "; ".join(f"{r.replica} is at config {r.config}" + (f" ({r.error})" if r.error else "") for r in behind)
    return (
        f"Fleet {fleet.name!r} did not reach config {config.number} within {fleet.deadline:g} s: {told}. "
        "See `slipway replicas`."
    )

"""The replicas of a fleet: what they last said, and waiting until they have come to a config."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from tasks import layout
from tasks.errors import DeadlineExceeded, RolloutFailed
from tasks.fleet import Fleet, FleetConfig
from tasks.records import Record, ReplicaReport, now

# A replica reports every five seconds; one that has been silent for this long is not waited for.
LEASE = timedelta(seconds=30)
_POLL = 0.2  # seconds between two looks at the reports


def reports(fleet: Fleet) -> list[ReplicaReport]:
    """The last words of all replicas that ever reported, sorted by name."""
    found = []
    for key in fleet.store.keys(layout.replicas_prefix(fleet.name)):
        data = fleet.store.find(key)
        if data is not None:
            found.append(ReplicaReport.from_json(data, fleet.store.uri(key)))
    return found


def live(fleet: Fleet) -> list[ReplicaReport]:
    """The last words of the replicas whose lease has not run out."""
    return [r for r in reports(fleet) if now() - r.time <= LEASE]


@dataclass(frozen=True)
class ReplicaState(Record):
    """A replica's last word, and what to think of it."""

    report: ReplicaReport
    state: Literal["ready", "behind", "failing", "silent"]
    silent: float  # seconds since it reported

    @property
    def serves(self) -> str:
        """What it serves, in one line."""
        found = [(name, s) for name, states in self.report.models.items() for s in states]
        return ", ".join(f"{name} {s.version}" for name, s in found if s.state == "AVAILABLE") or "nothing"


def states(fleet: Fleet) -> list[ReplicaState]:
    """All replicas that ever reported, sorted by name, each with how it stands to the fleet's newest config."""
    newest, found = fleet.newest().number, reports(fleet)
    return [judge(report, newest, now()) for report in found]


def judge(report: ReplicaReport, newest: int, time: datetime) -> ReplicaState:
    """How a replica stands at `time` to the newest config."""
    silent = time - report.time
    if silent > LEASE:
        return ReplicaState(report, "silent", silent.total_seconds())
    state: Literal["ready", "behind", "failing"] = "ready" if report.config >= newest else "behind"
    return ReplicaState(report, "failing" if report.error else state, silent.total_seconds())


def await_config(fleet: Fleet, config: FleetConfig) -> list[ReplicaReport]:
    """Wait until every live replica has reached `config`, and return their reports.

    Raises:
        RolloutFailed: a replica could not reach it; carries that replica's own words.
        DeadlineExceeded: not all did within the fleet's deadline, or none is alive.
    """
    end = time.monotonic() + fleet.deadline
    while True:
        alive = live(fleet)
        behind = [r for r in alive if r.config < config.number]
        if alive and not behind:
            return alive
        failed = next((r for r in behind if r.error_config is not None and r.error_config >= config.number), None)
        if failed is not None:
            raise RolloutFailed(f"Fleet {fleet.name!r}: replica {failed.replica}: {failed.error}")
        if time.monotonic() > end:
            raise DeadlineExceeded(_too_late(fleet, config, behind))
        time.sleep(_POLL)


def _too_late(fleet: Fleet, config: FleetConfig, behind: Sequence[ReplicaReport]) -> str:
    if not behind:
        return (
            f"Fleet {fleet.name!r} has no live replica: none has reported in the last {LEASE.seconds} s. "
            "Start one with its agent (`make up` on one machine)."
        )
    told = "; ".join(f"{r.replica} is at config {r.config}" + (f" ({r.error})" if r.error else "") for r in behind)
    return (
        f"Fleet {fleet.name!r} did not reach config {config.number} within {fleet.deadline:g} s: {told}. "
        "Logs: `make logs`."
    )

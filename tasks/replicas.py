"""The replicas of a fleet: what they last said, and waiting until they have come to a config."""

import time
from collections.abc import Sequence
from datetime import timedelta

from tasks import layout
from tasks.errors import DeadlineExceeded, RolloutFailed
from tasks.fleet import Fleet, FleetConfig
from tasks.records import ReplicaReport, now

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

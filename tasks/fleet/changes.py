"""Replicas that fell behind their fleet, or came back, each told once."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from tasks.fleet import replicas
from tasks.fleet.config import Fleet
from tasks.fleet.replicas import ReplicaState
from tasks.records import Record, ReplicaChanges
from tasks.store import keys


@dataclass(frozen=True)
class ReplicaChange(Record):
    """A replica that fell behind, or is back."""

    replica: str
    what: Literal["behind", "back"]
    reason: str
    model: str | None  # the one at fault, if one is
    number: int  # how often this replica has fallen behind or come back, this time included


def replica_changes(fleet: Fleet) -> list[ReplicaChange]:
    """Replicas that fell behind or came back since that was last told.

    Behind is one that reports no more, fails, or was left at an older config. While a rollout is under way, which may
    be what it fails at or is about to reach, only one that reports no more is.
    """
    told, newest = _told(fleet), fleet.newest().number
    rolling = bool(fleet.store.keys(keys.rollouts_prefix(fleet.name)))
    found = []
    for state in replicas.replica_states(fleet):
        name, error = state.report.replica, state.report.error
        number = told.get(name, 0) + 1
        if number % 2 == 0 and state.state == "ready":
            found.append(ReplicaChange(name, "back", f"It is at config {state.report.config}.", None, number))
        elif number % 2 == 1 and (state.state == "silent" or (state.state != "ready" and not rolling)):
            why = error or _why(state, newest)
            found.append(ReplicaChange(name, "behind", why, state.report.error_model, number))
    return found


def note(fleet: Fleet, found: Iterable[ReplicaChange]) -> None:
    """Keep that these were told. Idempotent; what is lost to another that notes at this moment is told again."""
    new = {change.replica: change.number for change in found}
    if new:
        record = ReplicaChanges({**_told(fleet), **new})
        fleet.store.put(keys.replica_changes_key(fleet.name), record.to_json())


def _told(fleet: Fleet) -> Mapping[str, int]:
    found = fleet.store.readable(keys.replica_changes_key(fleet.name), ReplicaChanges)
    return found.told if found is not None else {}


def _why(state: ReplicaState, newest: int) -> str:
    if state.state == "silent":
        return f"It last reported {state.silent:.0f} s ago."
    return f"It is at config {state.report.config}; the newest is {newest}."

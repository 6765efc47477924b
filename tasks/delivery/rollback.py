"""Which version a rollback goes back to, and by which strategy."""

from dataclasses import dataclass

from tasks.errors import NotFound
from tasks.fleet import replicas
from tasks.fleet.config import Fleet, live_version, serving_strategy
from tasks.records import Record, Strategy
from tasks.versions import catalog


@dataclass(frozen=True)
class WayBack(Record):
    """What a rollback rolls out, and how."""

    version: int
    strategy: Strategy


def find_way_back(fleet: Fleet, model: str, to: int | None) -> WayBack:
    """Back to version `to`, or to the newest below the live one that a rollout accepted.

    Where clients ask for the label `stable` it is the label that moves: the version before may still be loaded.

    Raises:
        NoLiveReplica: nobody would serve it.
        NotFound: there is none.
    """
    replicas.require_live(fleet)
    current = fleet.newest()
    version = to if to is not None else _previous_accepted(fleet, model, live_version(current, model))
    return WayBack(version, serving_strategy(current, model))


def _previous_accepted(fleet: Fleet, model: str, live: int | None) -> int:
    for number in reversed(catalog.published(fleet.store, model)):
        verdict = catalog.verdict(fleet.store, model, number)
        if (live is None or number < live) and verdict is not None and verdict.state != "rejected":
            return number
    before = f" before {live}" if live is not None else ""
    raise NotFound(
        f"{model} has no accepted version{before}: there is nothing to go back to. See `slipway versions {model}`."
    )

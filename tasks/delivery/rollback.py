"""Which version a rollback rolls out, and by which strategy."""

from dataclasses import dataclass

from tasks.errors import NotFound
from tasks.fleet import replicas
from tasks.fleet.config import Fleet, live_version, serving_strategy
from tasks.records import Record, Strategy
from tasks.versions import catalog


@dataclass(frozen=True)
class Rollback(Record):
    """What a rollback rolls out, and by which strategy."""

    version: int
    strategy: Strategy


def choose_rollback(fleet: Fleet, model: str, to: int | None) -> Rollback:
    """Version `to`, or the newest below the live one that a rollout accepted.

    If clients ask for the label `stable`, the label moves: the version before may still be loaded.

    Raises:
        NoReplica: no replica would serve it.
        NotFound: there is no such version.
    """
    replicas.require_replicas(fleet)
    current = fleet.newest()
    version = to if to is not None else _previous_accepted(fleet, model, live_version(current, model))
    return Rollback(version, serving_strategy(current, model))


def _previous_accepted(fleet: Fleet, model: str, live: int | None) -> int:
    for number in reversed(catalog.published(fleet.store, model)):
        verdict = catalog.verdict(fleet.store, model, number)
        if (live is None or number < live) and verdict is not None and verdict.state != "rejected":
            return number
    before = f" with a lower number than {live}" if live is not None else ""
    raise NotFound(
        f"{model} has no accepted version{before}: there is nothing to go back to. See `slipway versions {model}`."
    )

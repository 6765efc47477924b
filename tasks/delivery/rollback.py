"""Which version a rollback rolls out, and by which strategy."""

from dataclasses import dataclass

from tasks.errors import NotFound
from tasks.fleet import replicas
from tasks.fleet.config import STABLE, Fleet, FleetConfig, live_version, servings
from tasks.records import Record
from tasks.versions import catalog


@dataclass(frozen=True)
class Rollback(Record):
    """What a rollback rolls out, and by which strategy."""

    version: int
    strategy: str


def choose_rollback(fleet: Fleet, model: str, to: int | None) -> Rollback:
    """Version `to`, or the newest below the live one that a rollout accepted and that no fleet went back from.

    If clients ask for the label `stable`, the label moves: the version before may still be loaded.

    Raises:
        NoReplica: no replica would serve it.
        NotFound: there is no such version.
    """
    replicas.require_replicas(fleet)
    current = fleet.newest()
    version = to if to is not None else _previous_accepted(fleet, model, live_version(current, model))
    return Rollback(version, serving_strategy(current, model))


def serving_strategy(config: FleetConfig, model: str) -> str:
    """The strategy by which `model` is served now: `labels` if a version has the label `stable`."""
    found = servings(config).get(model)
    return "labels" if found is not None and STABLE in found.labels else "blue-green"


def _previous_accepted(fleet: Fleet, model: str, live: int | None) -> int:
    retired = []
    numbers = [n for n in reversed(catalog.published(fleet.store, model)) if live is None or n < live]
    for number, verdict in zip(numbers, catalog.verdicts(fleet.store, model, numbers), strict=True):
        if verdict is not None and verdict.state == "accepted":
            return number
        if verdict is not None and verdict.state == "retired":
            retired.append(number)
    before = f" with a lower number than {live}" if live is not None else ""
    named = f" `--to {retired[0]}` serves a retired one again." if retired else ""
    raise NotFound(
        f"{model} has no accepted version{before}: there is nothing to go back to.{named} "
        f"See `slipway versions {model}`."
    )

"""What a rollout will do, decided before anything is done: its stages, and what each loads, unloads and relabels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from tasks.delivery import strategies
from tasks.delivery.stages import Stage, Start
from tasks.errors import InvalidInput
from tasks.fleet.config import FleetConfig, Serving, live_in, live_version, serving_entry, servings
from tasks.names import candidate_name
from tasks.records import Record
from tasks.serving.client import Target
from tasks.wire.protos import ModelConfig

ABOUT_ROUTES = "Over gRPC the same model, label and version answer in the same way."
ABOUT_MEMORY = "Memory is an estimate: the files of all copies held at once, without what a server needs beside them."


@dataclass(frozen=True)
class Change(Record):
    """What one stage does on each replica."""

    stage: str
    loads: tuple[str, ...]
    unloads: tuple[str, ...]
    relabels: tuple[str, ...]
    copies: tuple[str, ...]  # what is in memory at the stage's peak, each as `name version`


@dataclass(frozen=True)
class Route(Record):
    """Which version answers at one endpoint: now, and after each stage."""

    target: Target
    answers: tuple[int | None, ...]  # None: an error


@dataclass(frozen=True)
class Plan(Record):
    """What a rollout will do, decided before it begins."""

    model: str
    version: int
    strategy: str
    config: int  # number of the fleet config that it starts from
    stages: tuple[Stage, ...]
    changes: tuple[Change, ...]
    routes: tuple[Route, ...]


@dataclass(frozen=True)
class Copy:
    """A version in a model server's memory, under one name; a version under two names is there twice."""

    name: str
    version: int

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


@dataclass(frozen=True)
class Source:
    """What a copy is loaded from: a model in the store, and the size of the version's files in bytes."""

    model: str
    size: int


@dataclass(frozen=True)
class ReplicaPlan(Record):
    """What a rollout does on one replica."""

    replica: str
    config: int  # number of the fleet config that it serves now
    downloads: int  # bytes
    changes: tuple[Change, ...]  # one for each stage
    memory: tuple[int, ...]  # at each stage's peak, bytes: the files of all copies; an estimate
    uncounted: tuple[str, ...]  # what is in memory too, but is not Slipway's


def plan_rollout(
    current: FleetConfig, model: str, version: int, strategy: str, replicas: Sequence[str] = (), soak: float = 0.0
) -> Plan:
    """The plan that brings a fleet from `current` to `version` of `model`.

    A model server answers requests that name neither a version nor a label with the highest version that it has
    loaded (TensorFlow Serving's server_core.cc). So nothing above the live version is ever loaded under the model's
    own name before it is accepted: a version on trial is served under another name, and one that was rolled back from
    is unloaded. A strategy whose plan breaks that is refused.

    Args:
        replicas: the names of those that report.
        soak: how long the version soaks if the strategy has it soak, seconds.

    Raises:
        InvalidInput: there is no such strategy, or what it plans is not safe.
    """
    now, strategy = servings(current), strategies.present_name(strategy)
    start = Start(model, version, now.get(model), tuple(sorted(replicas)), soak)
    stages = strategies.strategy_named(strategy)(start)
    states = _states(stages, now)
    _require_safe(strategy, start, stages, states)
    changes = tuple(map(_change, stages, states, states[1:]))
    return Plan(model, version, strategy, current.number, stages, changes, _routes(states, model))


def plan_replica(
    plan: Plan, current: FleetConfig, replica: str, serves: FleetConfig, sources: Mapping[Copy, Source]
) -> ReplicaPlan:
    """What the plan does on a replica that serves `serves`: `current`, or an older config if it lags behind."""
    now = servings(serves)
    states = [now, *_states(plan.stages, servings(current), replica)[1:]]
    held = [dict.fromkeys(_copies(before) + _copies(after)) for before, after in pairwise(states)]
    there = {(sources[copy].model, copy.version) for copy in _copies(now) if copy in sources}
    wanted = {(sources[c].model, c.version): sources[c].size for copies in held for c in copies if c in sources}
    without_versions = {s.name for state in states for s in state.values() if not s.versions}
    strangers = {str(copy) for copies in held for copy in copies if copy not in sources}
    removed = {s.name for stage in plan.stages for s in stage.servings if not s.versions}
    return ReplicaPlan(
        replica=replica,
        config=serves.number,
        downloads=sum(size for version, size in wanted.items() if version not in there),
        changes=tuple(map(_change, plan.stages, states, states[1:])),
        memory=tuple(sum(sources[c].size for c in copies if c in sources) for copies in held),
        uncounted=tuple(sorted(strangers | (without_versions - removed))),
    )


def routes_table(plan: Plan) -> tuple[list[str], list[list[str]]]:
    """Which URL answers with which version, now and after each stage: a header, and a row for each URL."""
    header = ["asked at", "now", *(_heading(stage) for stage in plan.stages)]
    rows = [
        [f"/v1/models/{route.target}", *("none" if v is None else str(v) for v in route.answers)]
        for route in plan.routes
    ]
    return header, rows


def _heading(stage: Stage) -> str:
    return f"stage {stage.name}" + (f" on {', '.join(stage.only)}" if stage.only else "")


def stage_entries(stage: Stage, base_path: str) -> dict[str, ModelConfig | None]:
    """The entries of a fleet's config that a stage puts in place."""
    return {
        s.name: serving_entry(s.name, base_path, s.versions, s.labels) if s.versions else None for s in stage.servings
    }


def entry_to_restore(config: FleetConfig, model: str) -> ModelConfig | None:
    """What `config` says of `model`, without what is loaded above the live version.

    Configs that Slipway 0.2.0 wrote may have such versions: on trial, or rolled back from.
    """
    entry, live, loaded = config.entry(model), live_version(config, model), config.versions(model)
    kept = [v for v in loaded if live is not None and v <= live]
    if entry is None or kept in ([], loaded):
        return entry
    labels = {label: version for label, version in entry.version_labels.items() if version in kept}
    return serving_entry(model, entry.base_path, kept, labels)


def _require_safe(
    strategy: str, start: Start, stages: Sequence[Stage], states: Sequence[Mapping[str, Serving]]
) -> None:
    """Raise unless a rollout by these stages is safe, and can be finished or aborted wherever it dies.

    Raises:
        InvalidInput: says what is wrong with them.
    """

    def refuse(why: str) -> InvalidInput:
        return InvalidInput(f"Strategy {strategy!r} is not safe: {why} Nothing was changed.")

    if [stage.accepts for stage in stages].count(True) != 1 or stages[-1].accepts:
        raise refuse("exactly one of its stages has to accept the version, and not the last.")
    accepting = [stage.accepts for stage in stages].index(True)
    for stage, before in list(zip(stages, states, strict=False))[: accepting + 1]:
        there = before[start.model].versions if start.model in before else ()
        for version in (v for s in stage.servings if s.name == start.model for v in s.versions if v not in there):
            if start.live is None or version > start.live:
                raise refuse(
                    f"its stage {stage.name!r} loads {start.model} {version} above the live version before it is "
                    "accepted, and clients that name no version would meet it."
                )
    # An abort and `reconcile` restore these two names, and know no others.
    others = {s.name for stage in stages for s in stage.servings} - {start.model, candidate_name(start.model)}
    if others:
        raise refuse(f"it changes {', '.join(sorted(others))} too.")
    after, left = states[-1].get(start.model), states[-1].get(candidate_name(start.model))
    if stages[-1].only or live_in(after) != start.version or (left is not None and left.versions):
        raise refuse(f"its last stage has to have all replicas serve {start.version} to clients, and nothing on trial.")


def _routes(states: Sequence[Mapping[str, Serving]], model: str) -> tuple[Route, ...]:
    """Every endpoint at which a version of `model` can be asked, before the first stage or after one."""
    asked = {
        target: None
        for name in (model, candidate_name(model))
        for state in states
        if name in state and state[name].versions
        for target in (
            Target(name),
            *(Target(name, label=label) for label in sorted(state[name].labels)),
            *(Target(name, version=version) for version in state[name].versions),
        )
    }
    order = sorted(asked, key=lambda e: (e.model, e.version or 0, e.label or ""))
    return tuple(Route(target, tuple(_answering(state, target) for state in states)) for target in order)


def _answering(state: Mapping[str, Serving], target: Target) -> int | None:
    """The version that answers at `target`, by TensorFlow Serving's rules; None if none does."""
    serving = state.get(target.model)
    if serving is None:
        return None
    if target.version is not None:
        return target.version if target.version in serving.versions else None
    if target.label is not None:
        return serving.labels.get(target.label)
    return max(serving.versions, default=None)


def _states(
    stages: Sequence[Stage], current: Mapping[str, Serving], replica: str | None = None
) -> list[Mapping[str, Serving]]:
    """What is served before the first stage, and after each: on one replica, or on those that a stage concerns."""

    def after(state: Mapping[str, Serving], stage: Stage) -> Mapping[str, Serving]:
        concerned = replica is None or not stage.only or replica in stage.only
        return {**state, **{s.name: s for s in stage.servings}} if concerned else state

    return list(accumulate(stages, after, initial=current))


def _change(stage: Stage, before: Mapping[str, Serving], after: Mapping[str, Serving]) -> Change:
    had, has = [str(c) for c in _copies(before)], [str(c) for c in _copies(after)]
    relabels = []
    for name, serving in after.items():
        old = before[name].labels if name in before else {}
        for label in sorted(old.keys() | serving.labels.keys()):
            if old.get(label) != serving.labels.get(label):
                relabels.append(f"{name} {label}: {old.get(label, 'none')} → {serving.labels.get(label, 'none')}")
    return Change(
        stage=stage.name,
        loads=tuple(c for c in has if c not in had),
        unloads=tuple(c for c in had if c not in has),
        relabels=tuple(relabels),
        # A model server loads the new version before it unloads the old one.
        copies=tuple(dict.fromkeys(had + has)),
    )


def _copies(found: Mapping[str, Serving]) -> list[Copy]:
    return [Copy(s.name, v) for s in found.values() for v in s.versions]

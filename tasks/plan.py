"""What a rollout will do, decided before anything is done: its stages, and what each loads, unloads and relabels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from tasks.fleet import FleetConfig, serving_entry
from tasks.layout import candidate_name
from tasks.protos import ModelConfig
from tasks.records import Record, Strategy

STABLE, CANARY = "stable", "canary"
ABOUT_MEMORY = "Memory is an estimate: the files of all copies held at once, without what a server needs beside them."


@dataclass(frozen=True)
class Endpoint(Record):
    """Where clients ask: a model's name, and a label where one is in use."""

    model: str
    label: str | None = None

    def __str__(self) -> str:
        return f"{self.model}/labels/{self.label}" if self.label else self.model


@dataclass(frozen=True)
class Serving(Record):
    """What is asked of a model server under one name."""

    name: str
    versions: tuple[int, ...]
    labels: Mapping[str, int]


@dataclass(frozen=True)
class Stage(Record):
    """One change of a fleet's config: names that are served in another way, or no more (no versions)."""

    name: str
    servings: tuple[Serving, ...]
    endpoint: Endpoint  # where the version is asked after the change


@dataclass(frozen=True)
class Change(Record):
    """What one stage does on each replica."""

    stage: str
    loads: tuple[str, ...]
    unloads: tuple[str, ...]
    relabels: tuple[str, ...]
    copies: tuple[str, ...]  # `name version`, each a copy in memory, at the stage's peak


@dataclass(frozen=True)
class Plan(Record):
    """A rollout, decided."""

    model: str
    version: int
    strategy: Strategy
    config: int  # number of the fleet config that it starts from
    stages: tuple[Stage, ...]
    changes: tuple[Change, ...]


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
    uncounted: tuple[str, ...]  # what is in memory too, and is not Slipway's


def plan_rollout(current: FleetConfig, model: str, version: int, strategy: Strategy) -> Plan:
    """The plan that brings a fleet from `current` to `version` of `model`.

    `candidate`: the version is served under a name of its own, asked there, and then takes the model's name, with the
    label `stable` where clients ask for that.
    `labels`: it is loaded beside the version that bears `stable`, asked under `canary`, and then bears `stable`; the
    version before stays loaded.
    """
    stages = (_candidate_stages if strategy == "candidate" else _label_stages)(current, model, version)
    states = _states(stages, servings(current))
    changes = tuple(map(_change, stages, states, states[1:]))
    return Plan(model, version, strategy, current.number, stages, changes)


def plan_replica(
    plan: Plan, current: FleetConfig, replica: str, serves: FleetConfig, sources: Mapping[Copy, Source]
) -> ReplicaPlan:
    """What the plan does on a replica that serves `serves`: `current`, or an older config if it lags behind."""
    now = servings(serves)
    states = [now, *_states(plan.stages, servings(current))[1:]]
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


def stage_entries(stage: Stage, base_path: str) -> dict[str, ModelConfig | None]:
    """The entries of a fleet's config that a stage puts in place."""
    return {
        s.name: serving_entry(s.name, base_path, s.versions, s.labels) if s.versions else None for s in stage.servings
    }


def servings(config: FleetConfig) -> dict[str, Serving]:
    """What a config asks for, by name."""
    return {
        c.name: Serving(c.name, tuple(c.model_version_policy.specific.versions), dict(c.version_labels))
        for c in config.models.model_config_list.config
    }


def live_version(config: FleetConfig, model: str) -> int | None:
    """The version that clients of `model` meet: the one labelled `stable`, else the highest; None where none serves."""
    found = servings(config).get(model)
    return found.labels.get(STABLE, max(found.versions, default=None)) if found else None


def serving_strategy(config: FleetConfig, model: str) -> Strategy:
    """The strategy by which `model` is served now: `labels` where a version bears `stable`."""
    found = servings(config).get(model)
    return "labels" if found is not None and STABLE in found.labels else "candidate"


def _candidate_stages(current: FleetConfig, model: str, version: int) -> tuple[Stage, ...]:
    candidate = candidate_name(model)
    labels = {STABLE: version} if serving_strategy(current, model) == "labels" else {}
    return (
        Stage("candidate", (Serving(candidate, (version,), {}),), Endpoint(candidate)),
        Stage("live", (Serving(model, (version,), labels), Serving(candidate, (), {})), Endpoint(model)),
    )


def _label_stages(current: FleetConfig, model: str, version: int) -> tuple[Stage, ...]:
    stable = live_version(current, model)
    loaded = tuple(sorted({v for v in (stable, version) if v is not None}))
    labels = {STABLE: stable} if stable is not None else {}
    return (
        Stage(CANARY, (Serving(model, loaded, {**labels, CANARY: version}),), Endpoint(model, CANARY)),
        Stage(STABLE, (Serving(model, loaded, {STABLE: version}),), Endpoint(model, STABLE)),
    )


def _states(stages: Sequence[Stage], current: Mapping[str, Serving]) -> list[Mapping[str, Serving]]:
    """What is served before the first stage, and after each."""
    return list(
        accumulate(stages, lambda state, stage: {**state, **{s.name: s for s in stage.servings}}, initial=current)
    )


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
        # A model server loads the new version before it lets go of the old one.
        copies=tuple(dict.fromkeys(had + has)),
    )


def _copies(found: Mapping[str, Serving]) -> list[Copy]:
    return [Copy(s.name, v) for s in found.values() for v in s.versions]

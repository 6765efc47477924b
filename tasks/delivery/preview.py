"""What a rollout would do, before anything is done: on each replica, stage by stage."""

from collections.abc import Iterable
from dataclasses import dataclass

from tasks.delivery.plan import Copy, Plan, ReplicaPlan, Source, plan_replica, plan_rollout
from tasks.errors import NotFound
from tasks.fleet import replicas
from tasks.fleet.config import Fleet, FleetConfig, live_version
from tasks.fleet.converge import model_in_store
from tasks.names import candidate_name
from tasks.policy import Policy
from tasks.records import Manifest, Record, Strategy
from tasks.validation.compatibility import broken, held_against
from tasks.validation.soak import soak_time
from tasks.versions import catalog


@dataclass(frozen=True)
class Preview(Record):
    """A plan, and what it means for each replica."""

    fleet: str
    live: int | None  # the version that serves now
    plan: Plan
    replicas: tuple[ReplicaPlan, ...]
    steps: tuple[str, ...]
    warnings: tuple[str, ...]


def preview_rollout(fleet: Fleet, model: str, version: int, strategy: Strategy, policy: Policy) -> Preview:
    """What a rollout of `version` would do now, by this policy. Nothing is changed.

    Raises:
        NotFound: there is no such version.
        InvalidInput: there is no such strategy.
    """
    manifest = catalog.manifest(fleet.store, model, version)
    current, present = fleet.newest(), replicas.reporting(fleet)
    serving = {report.config: fleet.read(report.config) for report in present}
    plan = plan_rollout(current, model, version, strategy)
    sources = _sources(fleet, manifest, [current, *serving.values()])
    return Preview(
        fleet=fleet.name,
        live=live_version(current, model),
        plan=plan,
        replicas=tuple(plan_replica(plan, current, r.replica, serving[r.config], sources) for r in present),
        steps=steps(
            plan,
            fleet.name,
            live_version(current, model),
            manifest,
            soak_time(fleet.store, model, version, plan.strategy, policy),
        ),
        warnings=tuple(_warnings(fleet, current, manifest, len(present))),
    )


def steps(plan: Plan, fleet: str, live: int | None, manifest: Manifest, soak: float) -> tuple[str, ...]:
    """The plan in words, in the order in which a rollout goes.

    Args:
        live: the version that serves now.
        soak: how long the version is asked before it is accepted, seconds.
    """
    trial, final = plan.stages
    signatures = f"{len(manifest.signatures)} signature{'s' * (len(manifest.signatures) != 1)}"
    accuracy = ", and its accuracy on the held-out examples" if manifest.training.dataset else ""
    back = f"version {live} serves again" if live is not None else f"no version of {plan.model} is served"
    in_place = trial.target.version is not None
    return (
        f"Finish or abort the rollouts of dead runs in fleet {fleet}.",
        f"Find version {plan.version} loaded as {trial.target} on every replica."
        if in_place
        else f"Serve version {plan.version} as {trial.target}, and wait until every replica does.",
        f"Ask {trial.target} on each replica: {signatures} over REST and gRPC{accuracy}.",
        *([f"Soak it: ask it again and again for {soak:g} s."] if soak else []),
        f"Accept version {plan.version}.",
        f"Serve it as {final.target}, and wait until every replica does.",
        f"Ask {final.target} in the same way.",
        f"If anything is wrong: abort, and {back}, proven on every replica.",
    )


def _sources(fleet: Fleet, manifest: Manifest, configs: Iterable[FleetConfig]) -> dict[Copy, Source]:
    """Where each copy of the configs and of the new version comes from; without those that Slipway did not write."""
    model, version = manifest.model, manifest.version
    sizes: dict[tuple[str, int], int | None] = {(model, version): manifest.size}
    found = {Copy(name, version): Source(model, manifest.size) for name in (model, candidate_name(model))}
    for entry in (entry for config in configs for entry in config.models.model_config_list.config):
        owner = model_in_store(entry, fleet.store)
        if owner is None:
            continue
        for number in entry.model_version_policy.specific.versions:
            if (owner, number) not in sizes:
                sizes[owner, number] = _size_in_store(fleet, owner, number)
            size = sizes[owner, number]
            if size is not None:
                found[Copy(entry.name, number)] = Source(owner, size)
    return found


def _size_in_store(fleet: Fleet, model: str, version: int) -> int | None:
    try:
        return catalog.manifest(fleet.store, model, version).size
    except NotFound:
        return None


def _warnings(fleet: Fleet, current: FleetConfig, manifest: Manifest, present: int) -> Iterable[str]:
    model, version = manifest.model, manifest.version
    verdict = catalog.verdict(fleet.store, model, version)
    if verdict is not None and verdict.state == "rejected":
        yield f"Version {version} was rejected before: {verdict.reason}"
    if live_version(current, model) == version:
        yield f"Version {version} serves already."
    live = held_against(fleet.store, manifest, live_version(current, model))
    breaks = broken(manifest.signatures, live.signatures) if live is not None else ()
    if live is not None and breaks:
        yield (
            f"Version {version} breaks what clients of version {live.version} ask: {'; '.join(breaks)}. The rollout is "
            "refused, unless `--force REASON` says why."
        )
    other = fleet.rollout_under_way(model)
    if other is not None:
        yield f"Version {other.version} is being rolled out (run {other.run}). Others are refused until it ends."
    if manifest.golden is None:
        yield f"Version {version} has no golden examples: nothing could be asked, and the rollout would fail."
    if not present:
        why = replicas.no_replica_message(fleet)
        yield f"{why} The rollout is refused, unless `--new-fleet` says that one will come."

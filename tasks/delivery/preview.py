"""What a rollout would do, before anything is done: on each replica, stage by stage."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from tasks.delivery.plan import Copy, Plan, ReplicaPlan, Source, plan_replica, plan_rollout
from tasks.delivery.stages import Stage
from tasks.errors import NotFound
from tasks.fleet import replicas
from tasks.fleet.config import Fleet, FleetConfig, live_version
from tasks.fleet.converge import model_in_store
from tasks.names import candidate_name
from tasks.policy import Policy
from tasks.records import Manifest, Record
from tasks.validation.checks.base import Expected
from tasks.validation.checks.registered import sentences
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


def preview_rollout(fleet: Fleet, model: str, version: int, strategy: str, policy: Policy) -> Preview:
    """What a rollout of `version` would do now, by this policy. Nothing is changed.

    Raises:
        NotFound: there is no such version.
        InvalidInput: there is no such strategy.
    """
    manifest = catalog.manifest(fleet.store, model, version)
    current, present = fleet.newest(), replicas.reporting(fleet)
    configs = {report.config: fleet.read(report.config) for report in present}
    serving = {report.replica: fleet.seen_by(report.replica, configs[report.config]) for report in present}
    against = held_against(fleet.store, manifest, live_version(current, model))
    soak = soak_time(fleet.store, model, version, policy)
    plan = plan_rollout(current, model, version, strategy, [report.replica for report in present], soak)
    sources = _sources(fleet, manifest, [current, *serving.values()])
    return Preview(
        fleet=fleet.name,
        live=live_version(current, model),
        plan=plan,
        replicas=tuple(
            plan_replica(plan, fleet.seen_by(name, current), name, serves, sources) for name, serves in serving.items()
        ),
        steps=steps(plan, fleet.name, live_version(current, model), Expected(manifest, policy, against)),
        warnings=tuple(_warnings(fleet, current, manifest, against, len(present))),
    )


def steps(plan: Plan, fleet: str, live: int | None, expected: Expected) -> tuple[str, ...]:
    """The plan in words, in the order in which a rollout goes: each stage and each check says its own sentence.

    Args:
        live: the version that serves now.
        expected: what the version is held against; it is compared with its `live` where it is accepted.
    """
    back = f"version {live} serves again" if live is not None else f"no version of {plan.model} is served"
    return (
        f"Finish or abort a rollout of {plan.model} in fleet {fleet} whose run is dead.",
        *(sentence for stage in plan.stages for sentence in stage.sentences(plan.version, _checks(stage, expected))),
        f"If anything is wrong: abort, and {back}, proven on every replica.",
    )


def _checks(stage: Stage, expected: Expected) -> list[str]:
    return sentences(expected if stage.accepts else replace(expected, live=None))


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


def _warnings(
    fleet: Fleet, current: FleetConfig, manifest: Manifest, live: Manifest | None, present: int
) -> Iterable[str]:
    model, version = manifest.model, manifest.version
    verdict = catalog.verdict(fleet.store, model, version)
    if verdict is not None and verdict.state == "rejected":
        yield f"Version {version} was rejected before: {verdict.reason}"
    if live_version(current, model) == version:
        yield f"Version {version} serves already."
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

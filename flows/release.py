"""Releasing: train a model or take a SavedModel, publish it as the next version, and roll it out."""

from dataclasses import dataclass
from typing import Any

from prefect import flow
from prefect.runtime import flow_run

from flows.defaults import FLEET
from flows.limits import limits
from flows.rollout import rollout
from flows.steps import (
    choose_policy,
    compare_with_live,
    discard_build,
    examine,
    find_same_content,
    prepare_saved_model,
    publish,
    record_in_mlflow,
    require_replicas,
    try_in_sandbox,
)
from flows.train import nothing_new, train
from tasks.delivery.strategies import StrategyName
from tasks.evaluation.metrics import in_words
from tasks.policy import Policy
from tasks.records import Build, Manifest, Record
from tasks.training.scoring import Examined
from tasks.validation.validate import ValidationReport
from tasks.versions.known import NothingNew


@dataclass(frozen=True)
class Release(Record):
    """A version that was published, rolled out and accepted."""

    manifest: Manifest
    report: ValidationReport

    @property
    def version(self) -> int:
        """Its number."""
        return self.manifest.version

    def summary(self) -> str:
        """What was done, as lines for a terminal."""
        figures = in_words(self.manifest.training.metrics)
        trained = f"  held out, when trained: {figures}\n" if figures else ""
        return (
            f"{self.manifest.model} version {self.manifest.version} is accepted and serves.\n{trained}"
            f"  served: {self.report.summary()}"
        )


@flow(name="release", flow_run_name="release {model}")
def release(
    model: str = "MLP",
    recipe: str | None = None,
    settings: dict[str, Any] | None = None,
    factory: str | None = None,
    signatures: dict[str, str] | None = None,
    data: str | None = None,
    label: str | None = None,
    epochs: int | None = None,
    seed: int | None = None,
    split_seed: int | None = None,
    fleet: str = FLEET,
    strategy: StrategyName = "blue-green",
    force: str | None = None,
    ungated: str | None = None,
    again: bool = False,
    new_fleet: bool = False,
    policy: dict[str, Any] | None = None,
) -> Release | NothingNew:
    """Train `model` (see the flow `train`), publish it as the next version, and serve it once it is accepted.

    If a version was made from just the same data, code, settings and seed, nothing is done, and that version returned.

    Args:
        force: a reason for publishing it even if it is worse than the live version, or breaks clients of it; kept with
            the version.
        ungated: a reason for publishing it though nothing can be compared with the live version; kept with the version.
        again: do it all even if a version was made from just the same.
        new_fleet: go on though no replica of the fleet reports, and wait for its first one.
        policy: values of the rule by which it passes that go before the model's own policy and the settings.

    Raises:
        NoReplica: no replica would serve it. Nothing was trained.
        GateFailed: it is worse than the live version, breaks clients of it, or cannot be compared. Nothing was
            published.
        RolloutFailed: it was published, and its rollout aborted; says why, and what serves now.
    """
    require_replicas(fleet, new_fleet)
    trained = train(model, recipe, settings, factory, signatures, data, label, epochs, seed, split_seed, policy, again)
    if isinstance(trained, NothingNew):
        return nothing_new(trained)
    rule = choose_policy(model, policy, trained.gate)
    return deliver(trained.build, fleet, strategy, rule, force, ungated, again, new_fleet, trained)


@flow(name="release-saved-model", flow_run_name="release {model} from a SavedModel")
def release_saved_model(
    model: str,
    saved_model: str,
    inputs: str | None = None,
    signatures: list[str] | None = None,
    recipe: str | None = None,
    data: str | None = None,
    label: str | None = None,
    split_seed: int | None = None,
    fleet: str = FLEET,
    strategy: StrategyName = "blue-green",
    force: str | None = None,
    ungated: str | None = None,
    again: bool = False,
    new_fleet: bool = False,
    policy: dict[str, Any] | None = None,
) -> Release | NothingNew:
    """Publish a SavedModel made elsewhere as the next version of `model`, and serve it once it is accepted.

    If a version has just this content, nothing is done, and that version returned.

    Args:
        saved_model: its folder.
        inputs: a `.json` of predict requests, or an `.npz`; its answers to them are its golden examples.
        signatures: those to publish; all if not given.
        recipe: the module whose `load`, `score` and GATE it is scored by, as `package.module`.
        data: what it is scored on: the held-out part, as the flow `train` takes it. If not given, the last version's.
        label, split_seed: as for `train`.
        force, ungated, again, new_fleet, policy: as for `release`.
    """
    require_replicas(fleet, new_fleet)
    rule = choose_policy(model, policy)
    build = prepare_saved_model(model, saved_model, inputs, flow_run.id, limits(), signatures)
    by = {"recipe": recipe, "data": data, "label": label, "split_seed": split_seed}
    try:
        examined = examine(build, by, limits())
        try_in_sandbox(build, rule)
    except BaseException:
        discard_build(build)
        raise
    if examined is not None:
        build, rule = examined.build, choose_policy(model, policy, examined.gate)
    return deliver(build, fleet, strategy, rule, force, ungated, again, new_fleet, examined)


def deliver(
    build: Build,
    fleet: str,
    strategy: StrategyName,
    policy: Policy,
    force: str | None = None,
    ungated: str | None = None,
    again: bool = False,
    new_fleet: bool = False,
    examined: Examined | None = None,
) -> Release | NothingNew:
    """Publish the build unless it is worse than the live version, and roll it out.

    Args:
        examined: what it is compared by, if it was trained here or data were named; else the live version's.
    """
    try:
        same = None if again else find_same_content(build)
        if same is not None:
            return nothing_new(same)
        held_out, score = (examined.held_out, examined.score) if examined else (None, None)
        comparison = compare_with_live(fleet, build, policy, force, held_out, ungated, score)
        comparison.require_passed()
        manifest = publish(build, flow_run.root_flow_run_id, comparison, again)
    finally:
        discard_build(build)
    record_in_mlflow(manifest.model, manifest.version)
    report = rollout(manifest.model, manifest.version, fleet, strategy, force, new_fleet, policy.values())
    return Release(manifest, report)

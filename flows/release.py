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
    prepare_saved_model,
    publish,
    record_in_mlflow,
    require_replicas,
    try_in_sandbox,
)
from flows.train import train
from tasks.data.held_out import HeldOut
from tasks.delivery.strategies import StrategyName
from tasks.policy import Policy
from tasks.records import Build, Manifest, Record
from tasks.validation.validate import ValidationReport


@dataclass(frozen=True)
class Release(Record):
    """A version that was published, rolled out and accepted."""

    manifest: Manifest
    report: ValidationReport

    def summary(self) -> str:
        """What was done, as lines for a terminal."""
        accuracy = self.manifest.training.metrics.get("accuracy")
        trained = f"  held-out accuracy when trained: {accuracy:.4f}\n" if accuracy is not None else ""
        return (
            f"{self.manifest.model} version {self.manifest.version} is accepted and serves.\n{trained}"
            f"  served: {self.report.summary()}"
        )


@flow(name="release", flow_run_name="release {model}")
def release(
    model: str = "MLP",
    factory: str | None = None,
    signatures: dict[str, str] | None = None,
    data: str | None = None,
    epochs: int | None = None,
    seed: int | None = None,
    split_seed: int | None = None,
    fleet: str = FLEET,
    strategy: StrategyName = "blue-green",
    force: str | None = None,
    new_fleet: bool = False,
    policy: dict[str, Any] | None = None,
) -> Release:
    """Train `model` (see the flow `train`), publish it as the next version, and serve it once it is accepted.

    Args:
        force: a reason for publishing it even if it is worse than the live version, or breaks clients of it; kept with
            the version.
        new_fleet: go on though no replica of the fleet reports, and wait for its first one.
        policy: values of the rule by which it passes that go before the model's own policy and the settings.

    Raises:
        NoReplica: no replica would serve it. Nothing was trained.
        GateFailed: it is worse than the live version, or breaks clients of it. Nothing was published.
        RolloutFailed: it was published, and its rollout aborted; says why, and what serves now.
    """
    require_replicas(fleet, new_fleet)
    rule = choose_policy(model, policy)
    trained = train(model, factory, signatures, data, epochs, seed, split_seed, rule.values())
    return deliver(trained.build, fleet, strategy, rule, force, new_fleet, trained.held_out)


@flow(name="release-saved-model", flow_run_name="release {model} from a SavedModel")
def release_saved_model(
    model: str,
    saved_model: str,
    inputs: str | None = None,
    fleet: str = FLEET,
    strategy: StrategyName = "blue-green",
    force: str | None = None,
    new_fleet: bool = False,
    policy: dict[str, Any] | None = None,
) -> Release:
    """Publish a SavedModel made elsewhere as the next version of `model`, and serve it once it is accepted.

    Args:
        saved_model: its folder.
        inputs: a `.json` of predict requests, or an `.npz`; its answers to them are its golden examples.
        force, new_fleet, policy: as for `release`.
    """
    require_replicas(fleet, new_fleet)
    rule = choose_policy(model, policy)
    build = prepare_saved_model(model, saved_model, inputs, flow_run.id, limits())
    try:
        try_in_sandbox(build, rule)
    except BaseException:
        discard_build(build)
        raise
    return deliver(build, fleet, strategy, rule, force, new_fleet)


def deliver(
    build: Build,
    fleet: str,
    strategy: StrategyName,
    policy: Policy,
    force: str | None,
    new_fleet: bool = False,
    held_out: HeldOut | None = None,
) -> Release:
    """Publish the build unless it is worse than the live version, and roll it out.

    Args:
        held_out: what the build's own training never saw, if it was trained here.
    """
    try:
        comparison = compare_with_live(fleet, build, policy, force, held_out)
        comparison.require_passed()
        manifest = publish(build, flow_run.root_flow_run_id, comparison)
    finally:
        discard_build(build)
    record_in_mlflow(manifest.model, manifest.version)
    report = rollout(manifest.model, manifest.version, fleet, strategy, force, new_fleet, policy.values())
    return Release(manifest, report)

"""Releasing: a model is trained, or taken as it is, published as the next version, and rolled out."""

from dataclasses import dataclass

from prefect import flow
from prefect.runtime import flow_run

from flows.rollout import rollout
from flows.train import train
from tasks.build import Build, check, discard, prepare, publish
from tasks.records import Manifest, Record, Strategy
from tasks.registry import register
from tasks.validate import ValidationReport


@dataclass(frozen=True)
class Release(Record):
    """A version that was published and serves."""

    manifest: Manifest
    report: ValidationReport

    def summary(self) -> str:
        """What was done, for a terminal."""
        accuracy = self.manifest.training.metrics.get("accuracy")
        trained = f"  held-out accuracy when trained: {accuracy:.4f}\n" if accuracy is not None else ""
        return (
            f"{self.manifest.model} version {self.manifest.version} is accepted and serves.\n{trained}"
            f"  live: {self.report.summary()}"
        )


@flow(name="release", flow_run_name="release {model}")
def release(
    model: str = "MLP",
    factory: str = "tasks.models:mlp",
    signatures: dict[str, str] | None = None,
    data: str = "mnist-5k",
    epochs: int = 15,
    seed: int = 1,
    split_seed: int = 0,
    fleet: str = "default",
    strategy: Strategy = "candidate",
) -> Release:
    """Train `model` (see the flow `train`), publish it as the next version, and serve it once it has proven itself."""
    return deliver(train(model, factory, signatures, data, epochs, seed, split_seed), fleet, strategy)


@flow(name="release-saved-model", flow_run_name="release {model} from a SavedModel")
def release_saved_model(
    model: str,
    saved_model: str,
    inputs: str | None = None,
    fleet: str = "default",
    strategy: Strategy = "candidate",
) -> Release:
    """Publish a SavedModel made elsewhere as the next version of `model`, and serve it once it has proven itself.

    Args:
        saved_model: its folder.
        inputs: a `.json` of predict requests, or an `.npz`, whose answers are its golden examples.
    """
    build = prepare(model, saved_model, inputs, flow_run.id)
    check(build)
    return deliver(build, fleet, strategy)


def deliver(build: Build, fleet: str, strategy: Strategy) -> Release:
    """Publish the build, and roll it out."""
    try:
        manifest = publish(build, flow_run.id)
    finally:
        discard(build)
    register(manifest)
    return Release(manifest, rollout(manifest.model, manifest.version, fleet, strategy))

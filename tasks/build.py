"""A version in the making: a SavedModel on this machine's disk, with all that its manifest will say."""

import dataclasses
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tasks import artifacts, graph_ops, layout, reports
from tasks.data import recorded_source
from tasks.golden import GOLDEN, read_golden, write_golden
from tasks.golden_inputs import golden_from_inputs
from tasks.limits import Limits
from tasks.parameters import TrainingParameters
from tasks.publish import plain_files, publish_version
from tasks.quiet import without_chatter
from tasks.records import Comparison, DatasetRef, Manifest, Record, SignatureSpec, Training
from tasks.sandbox import try_saved_model
from tasks.savedmodel import require_saved_model
from tasks.settings import settings
from tasks.signing import Trust
from tasks.snapshot import load_snapshot
from tasks.step import step, with_store
from tasks.store import Store
from tasks.tracking import Tracker, tracked

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Build(Record):
    """A SavedModel that is ready to be published."""

    model: str
    directory: str
    signatures: Mapping[str, SignatureSpec]
    golden: str  # path of the golden examples, relative to the directory
    training: Training


def train_and_export(model: str, chosen: TrainingParameters, snapshot: DatasetRef, run: str) -> Build:
    """Train what the chosen factory makes on the snapshot of its data, followed in MLflow, and export the result.

    Raises:
        InvalidData: the data changed since its snapshot was taken.
        InvalidModel: the factory, a signature or the training failed.
        TrackingError: MLflow did not take the run.
    """
    with without_chatter():
        import tensorflow as tf

        tf.config.list_physical_devices()  # looks for a GPU now rather than in the middle of the training's log

    from tasks.export import export_saved_model
    from tasks.factory import code_version
    from tasks.train import train

    directory = _directory(model, run)
    made_of = Training(
        factory=chosen.factory,
        methods=chosen.signatures,
        data=recorded_source(chosen.data),
        seed=chosen.seed,
        epochs=chosen.epochs,
        code_version=code_version(chosen.factory),
        dataset=snapshot,
    )
    tracker = Tracker.connect(settings())
    with tracked(tracker, model, made_of, run) as curves:
        dataset = load_snapshot(chosen.data, snapshot)
        trained = train(
            chosen.factory,
            dataset,
            seed=chosen.seed,
            epochs=chosen.epochs,
            signatures=chosen.signatures,
            on_epoch=curves,
        )
        exported = export_saved_model(trained, directory)
    tracker.finish(curves.run_id, trained.evaluation)
    training = dataclasses.replace(made_of, mlflow_run=curves.run_id, metrics=trained.evaluation.metrics())
    report = reports.training(model, run, training, trained.evaluation, tracker.run_url(curves.run_id))
    artifacts.show(report, f"Training of {model}", "training", model)
    return Build(model, str(directory), exported.signatures, exported.golden, training)


def prepare_saved_model(
    model: str, saved_model: str, inputs: str | None, run: str, limits: Limits | None = None
) -> Build:
    """Take a SavedModel that was made elsewhere, with what it answers to `inputs` as its golden examples.

    Args:
        saved_model: its folder, which stays as it is.
        inputs: a file as `tasks.golden_inputs.inputs_from_file` takes it; if None, they are made up.
        limits: what the paths may name; None: anything.

    Raises:
        InvalidInput: `limits` do not allow a path.
        InvalidSavedModel, InvalidData, NotServable: says what is wrong with it, or with the inputs.
        ForbiddenOps: its graph holds operations that touch files or run code; it was not run.
    """
    if limits:
        saved_model = limits.path("saved_model", saved_model)
        inputs = limits.path("inputs", inputs) if inputs else None
    source, directory = Path(saved_model), _directory(model, run)
    signatures = require_saved_model(source)
    plain_files(source)
    graph_ops.require_harmless(source, Trust.of(settings()).allowed_ops)
    examples = golden_from_inputs(source, Path(inputs) if inputs else None)
    shutil.copytree(source, directory, symlinks=True)  # one that was put there meanwhile is refused, too
    (directory / GOLDEN).parent.mkdir(exist_ok=True)
    write_golden(directory / GOLDEN, examples)
    return Build(model, str(directory), signatures, GOLDEN, Training())


def try_build(build: Build) -> None:
    """Load the build alone, in the model server that serves, and compare its answers with the golden ones.

    Raises:
        ForbiddenOps, NotServable, LoadFailed, DeadlineExceeded: as `tasks.sandbox.try_saved_model` does.
    """
    directory = Path(build.directory)
    try_saved_model(build.model, directory, read_golden(directory / build.golden), settings())


def publish_build(store: Store, build: Build, run: str, gate: Comparison | None = None) -> Manifest:
    """Publish the build as the next version of its model. Its folder is no longer needed then.

    Args:
        gate: how it compared with the version that serves; None where nobody asked.
    """
    manifest = publish_version(
        store,
        build.model,
        Path(build.directory),
        signatures=build.signatures,
        golden=build.golden,
        training=build.training,
        run=run,
        gate=gate,
    )
    log.info("published %s version %d", manifest.model, manifest.version)
    return manifest


def discard_build(build: Build) -> None:
    """Remove a build's folder."""
    shutil.rmtree(build.directory, ignore_errors=True)


def _directory(model: str, run: str) -> Path:
    """A folder for the build of this run; what an earlier try left there is removed."""
    directory = settings().home.absolute() / "builds" / f"{layout.model_name(model)}-{run}"
    shutil.rmtree(directory, ignore_errors=True)
    directory.parent.mkdir(parents=True, exist_ok=True)
    return directory


fit = step("train and export", train_and_export, "train and export {model}")
prepare = step("prepare SavedModel", prepare_saved_model)
try_alone = step("try in a sandbox", try_build, "try {build.model} in a sandbox")
publish = step("publish", with_store(publish_build), "publish {build.model}")
discard = step("discard build", discard_build)

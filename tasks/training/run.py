"""A training from its data to an exported SavedModel, followed in MLflow."""

import dataclasses
from dataclasses import dataclass

from tasks import names
from tasks.data.dataset import recorded_source
from tasks.data.held_out import HeldOut
from tasks.data.snapshot import Snapshot
from tasks.evaluation.metrics import Evaluation
from tasks.records import Build, Training
from tasks.savedmodel.prepare import build_directory
from tasks.settings import Settings
from tasks.tracking.runs import Tracker, tracked
from tasks.training.parameters import TrainingParameters
from tasks.training.quiet import without_chatter


@dataclass(frozen=True, eq=False)
class TrainedBuild:
    """A build that was trained here, and how its training went."""

    build: Build
    evaluation: Evaluation  # on held-out examples
    held_out: HeldOut
    run: str  # name of the run of Slipway that the training was a part of
    mlflow_url: str  # page that shows its curves


def train_and_export(
    settings: Settings, model: str, chosen: TrainingParameters, snapshot: Snapshot, run: str, own_run: str
) -> TrainedBuild:
    """Train the chosen factory's model on the snapshot, followed in MLflow, and export the result.

    Args:
        run: name of the run of Slipway that this is a part of, such as a release.
        own_run: that of this training alone; an earlier attempt of the same one is replaced.

    Raises:
        InvalidModel: the factory, a signature or the training failed.
        TrackingError: MLflow did not take the run.
    """
    names.model_name(model)
    with without_chatter():
        import tensorflow as tf

        tf.config.list_physical_devices()  # looks for a GPU now, not in the middle of the training's log

    from tasks.training.export import export_saved_model
    from tasks.training.factory import code_version
    from tasks.training.train import train

    made_of = Training(
        factory=chosen.factory,
        methods=chosen.signatures,
        data=recorded_source(chosen.data),
        seed=chosen.seed,
        epochs=chosen.epochs,
        code_version=code_version(chosen.factory, settings.project),
        dataset=snapshot.ref,
    )
    tracker = Tracker.connect(settings)
    with tracked(tracker, model, made_of, run, own_run) as curves:
        trained = train(
            chosen.factory,
            snapshot.dataset,
            seed=chosen.seed,
            epochs=chosen.epochs,
            signatures=chosen.signatures,
            on_epoch=curves,
            project=settings.project,
        )
        exported = export_saved_model(trained, build_directory(settings.home, model, own_run))
    tracker.finish(curves.run_id, trained.evaluation)
    training = dataclasses.replace(made_of, mlflow_run=curves.run_id, metrics=trained.evaluation.metrics())
    build = Build(model, str(exported.directory), exported.signatures, exported.golden, training)
    held_out = HeldOut(snapshot.dataset.x_test, snapshot.dataset.y_test)
    return TrainedBuild(build, trained.evaluation, held_out, run, tracker.run_url(curves.run_id))

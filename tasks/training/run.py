"""A training from its data to an exported SavedModel, followed in MLflow."""

import dataclasses
import logging
from dataclasses import dataclass

from tasks import names
from tasks.data.digits import scaled_digits
from tasks.data.examples import Loaded
from tasks.data.remote import local_copy
from tasks.data.snapshot import Snapshot, keep_held_out, take_snapshot
from tasks.data.sources import mnist_file, recorded_source
from tasks.evaluation.metrics import Evaluation, evaluate, in_words
from tasks.names import is_function
from tasks.processes import LastingFolder, temporary_folder
from tasks.records import Build, Training
from tasks.savedmodel.content import GOLDEN
from tasks.savedmodel.prepare import build_directory
from tasks.savedmodel.read import SavedModelFolder
from tasks.settings import Settings
from tasks.store.base import Store
from tasks.tracking.runs import Tracker, tracked
from tasks.training import process
from tasks.training.modules import code_version, defines, function_of
from tasks.training.parameters import TrainingParameters
from tasks.training.process import Request, Trained
from tasks.training.scoring import Examined, score_of

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class TrainedBuild(Examined):
    """A build that was trained here, and how its training went."""

    evaluation: Evaluation  # of its answers to the held-out examples
    run: str  # name of the run of Slipway that the training was a part of
    mlflow_url: str  # page that shows its curves


def read_data(store: Store, settings: Settings, chosen: TrainingParameters) -> Snapshot:
    """Read, check and split the data, and keep the held-out part. A recipe's own `load` runs in a process of its own.

    Raises:
        InvalidModel: there is no such recipe or function.
        InvalidData: says which value is wrong, what was expected and what to do.
    """
    source, project, kept = chosen.data, settings.project, LastingFolder("data")
    spec = chosen.spec
    own = bool(spec) and defines(spec, "make", project) and defines(spec, "load", project)
    loaded = None
    if own or is_function(source):
        with temporary_folder("load") as exchange, local_copy(source, settings) as local:
            given = str(mnist_file(settings.downloads)) if source == "mnist" else local
            function = source if is_function(source) else function_of(spec, "load", project)
            process.run("load", Request(function, str(project.absolute()), given), exchange)
            loaded = process.read_examples(exchange / process.ROWS, Loaded)
    found = take_snapshot(store, settings, source, chosen.split_seed, chosen.label, loaded, kept.path)
    return dataclasses.replace(found, folder=kept)


def made_of(settings: Settings, chosen: TrainingParameters, snapshot: Snapshot) -> Training:
    """All that decides what a training ends with."""
    return Training(
        recipe=chosen.recipe,
        factory=chosen.factory,
        settings=chosen.settings,
        methods=chosen.signatures,
        data=recorded_source(chosen.data),
        label=chosen.label,
        seed=chosen.seed,
        epochs=chosen.epochs,
        code_version=code_version(chosen.spec, settings.project),
        dataset=snapshot.ref,
    )


def train_and_export(
    store: Store, settings: Settings, model: str, training: Training, snapshot: Snapshot, run: str, own_run: str
) -> TrainedBuild:
    """Train the recipe's model on the snapshot in a process of its own, followed in MLflow, and export the result.

    Args:
        training: what `made_of` gave.
        run: name of the run of Slipway that this is a part of, such as a release.
        own_run: that of this training alone; an earlier attempt of the same one is replaced.

    Raises:
        InvalidModel: the recipe, a signature or the training failed.
        InvalidInput: the recipe has no such setting, or the data does not go with it.
        TrackingError: MLflow did not take the run.
    """
    names.model_name(model)
    dataset, directory = snapshot.dataset, build_directory(settings.home, model, own_run)
    request = Request(
        spec=training.recipe or training.factory or "",
        project=str(settings.project.absolute()),
        settings=training.settings,
        signatures=training.methods,
        seed=training.seed or 0,
        split_seed=snapshot.ref.split_seed,
        epochs=training.epochs or 1,
        name=dataset.name,
        sha256=dataset.sha256,
        directory=str(directory),
    )
    tracker = Tracker.connect(settings)
    with tracked(tracker, model, training, run, own_run) as curves, temporary_folder("train") as exchange:
        process.write_dataset(dataset, exchange)
        process.run("train", request, exchange, on_epoch=curves)
        trained = Trained.from_json((exchange / process.RESULT).read_bytes(), process.RESULT)
        groups = process.read_arrays(exchange / process.ANSWERS)
    if trained.scaled:
        snapshot = keep_held_out(store, scaled_digits(dataset))
        dataset, training = snapshot.dataset, dataclasses.replace(training, dataset=snapshot.ref)
    evaluation = evaluate(dataset.test.labels, groups["answers"], trained.outputs)
    metrics = {**evaluation.metrics(), **(trained.figures or {})}
    tracker.finish(curves.run_id, metrics, evaluation.confusion)
    log.info("%s: %d held out: %s", request.spec, evaluation.rows, in_words(metrics))
    if trained.unused:
        log.warning("%s takes no %s of the data", request.spec, " or ".join(map(repr, trained.unused)))
    training = dataclasses.replace(
        training,
        mlflow_run=curves.run_id,
        metrics=metrics,
        scored=trained.scored,
        unused=trained.unused,
    )
    signatures = SavedModelFolder.read(directory).signatures
    build = Build(model, str(directory), signatures, GOLDEN, training)
    score = score_of(request.spec, settings.project) if trained.figures is not None else None
    held_out = dataclasses.replace(dataset.test, slices=groups.get("slices", {}))
    return TrainedBuild(build, held_out, trained.gate, score, evaluation, run, tracker.run_url(curves.run_id))

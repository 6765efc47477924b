"""Experiment tracking: one MLflow run per training, one registered model version per published version.

A training that is killed leaves its MLflow run RUNNING. The next training of the model marks it as FAILED if it was the
same run of Slipway, now tried again, or if its process is known to be gone; what it had logged stays. A run on another
machine is left alone, since it may be alive; and a run that was taken for dead, but is not, still ends as FINISHED.
"""

import json
import logging
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from pydantic import TypeAdapter, ValidationError

from tasks.errors import TrackingError
from tasks.evaluation import plots
from tasks.evaluation.metrics import ConfusionMatrix
from tasks.processes import ProcessRef, is_gone, this_process
from tasks.records import Training
from tasks.settings import Settings
from tasks.tracking.server import LONGEST_TAG, TAG_REASON, TAG_RUN, TrackingServer, log_artifact, unless

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

log = logging.getLogger(__name__)

CONFUSION = "confusion_matrix.png"

TAG_MODEL = "slipway.model"
TAG_OWN_RUN = "slipway.own_run"
TAG_PROCESS = "slipway.process"

_PAUSE = 15.0  # seconds until a server that did not answer is tried again during a training


@dataclass(frozen=True)
class Tracker:
    """An MLflow server's experiments: one for each model, with one run for each training.

    Every method is idempotent.

    Raises (all methods):
        TrackingUnreachable: the server does not answer.
        TrackingError: it refuses.
    """

    server: TrackingServer

    @classmethod
    def connect(cls, settings: Settings) -> Self:
        """The experiments of the server that `settings` name.

        Raises:
            InvalidSettings: what they name is not a server's URL.
        """
        return cls(TrackingServer.connect(settings))

    def start(self, model: str, training: Training, run: str, own_run: str) -> str:
        """Open the MLflow run of a training, and close those that died before it; returns the MLflow run's id.

        Args:
            training: its factory, seed, epochs, code version and dataset become parameters.
            run: name of the run of Slipway that the training is a part of.
            own_run: that of the training alone; if it was tried before, that attempt is over.
        """
        opened = self.server.ask(
            "open the run of a training", lambda client: _start(client, model, training, run, own_run), tries=3
        )
        log.info("MLflow run of this training: %s", self._url(opened))
        return str(opened.info.run_id)

    def epoch(self, run_id: str, number: int, metrics: Mapping[str, float], when: float | None = None) -> None:
        """Add a point at epoch `number`, counted from 1, to the curve `epoch/NAME` of each metric. Not retried.

        Args:
            metrics: named as Keras names them: `loss`, `val_loss` and so on.
            when: seconds since 1970, None for now. The same point with the same time is one point.
        """
        points = {f"epoch/{name}": float(value) for name, value in metrics.items()}
        self.server.ask("log an epoch", lambda client: _log(client, run_id, points, number, when), tries=1)

    def finish(self, run_id: str, metrics: Mapping[str, float], confusion: ConfusionMatrix | None) -> None:
        """Close the run of a training that ended well, with its figures on held-out examples."""
        self.server.ask("finish the run of a training", lambda client: _finish(client, run_id, metrics, confusion))

    def fail(self, run_id: str, reason: str) -> None:
        """Close the run of a training that failed, with the reason."""
        self.server.ask(
            "close the run of a failed training", lambda client: _close(client, run_id, "FAILED", reason), tries=3
        )

    def run_url(self, run_id: str) -> str:
        """The page of an MLflow run."""
        return self._url(self.server.ask("find a run", lambda client: client.get_run(run_id), tries=3))

    def _url(self, run: "Run") -> str:
        # Without `workflowType` MLflow's UI opens its pages for prompts and agents, without a way to other trainings.
        place = f"experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
        return f"{self.server.uri}/#/{place}?workflowType=machine_learning"


@dataclass
class TrainingCurves:
    """Logs each epoch of a training, as its `on_epoch`.

    A server that goes away does not end the training: the points are kept and sent with a later epoch's.
    """

    tracker: Tracker
    run_id: str
    _kept: list[tuple[int, Mapping[str, float], float]] = field(default_factory=list)
    _silent_until: float = -math.inf  # monotonic seconds

    def __call__(self, number: int, metrics: Mapping[str, float]) -> None:
        """Log the metrics of epoch `number`, counted from 1."""
        self._kept.append((number, dict(metrics), time.time()))
        if time.monotonic() >= self._silent_until:
            self.send()

    def send(self) -> bool:
        """Send the points that were kept; whether all of them arrived."""
        try:
            while self._kept:
                number, metrics, when = self._kept[0]
                self.tracker.epoch(self.run_id, number, metrics, when)
                del self._kept[0]
        except TrackingError as error:
            log.warning("epochs %d to %d are not in MLflow yet: %s", self._kept[0][0], self._kept[-1][0], error)
            self._silent_until = time.monotonic() + _PAUSE
        return not self._kept


@contextmanager
def tracked(tracker: Tracker, model: str, training: Training, run: str, own_run: str) -> Iterator[TrainingCurves]:
    """Follow the training inside the block. Any error in it closes its MLflow run as FAILED, with the reason.

    A training that succeeds is closed by `Tracker.finish`, once its held-out metrics are known.
    """
    curves = TrainingCurves(tracker, tracker.start(model, training, run, own_run))
    try:
        yield curves
    except BaseException as error:
        try:
            tracker.fail(curves.run_id, f"{type(error).__name__}: {error}")
        except TrackingError as failure:
            log.warning("MLflow run %s stays RUNNING until the next training finds it: %s", curves.run_id, failure)
        raise
    curves.send()


def parameters(training: Training) -> dict[str, str]:
    """The parameters of a training's MLflow run: how the model is made. What is not known is left out."""
    data = training.dataset
    known = {
        "recipe": training.recipe,
        "factory": training.factory,
        **{f"settings.{name}": json.dumps(value) for name, value in training.settings.items()},
        "label": training.label,
        "seed": training.seed,
        "epochs": training.epochs,
        "code_version": training.code_version,
        "dataset": data.name if data else None,
        "dataset_sha256": data.sha256 if data else None,
        "split_seed": data.split_seed if data else None,
    }
    return {name: str(value) for name, value in known.items() if value is not None}


def is_dead(tags: Mapping[str, str], own_run: str) -> bool:
    """Whether the training of an MLflow run that is RUNNING is dead, as far as the training `own_run` can know.

    That of an earlier attempt of the same run is, and one whose process has ended.
    """
    if tags.get(TAG_OWN_RUN) == own_run:
        return True
    try:
        return is_gone(TypeAdapter(ProcessRef).validate_json(tags.get(TAG_PROCESS, "")))
    except ValidationError:
        return False  # not Slipway's, or from another release: left alone


def _start(client: "MlflowClient", model: str, training: Training, run: str, own_run: str) -> "Run":
    experiment = _experiment(client, model)
    for other in _running(client, experiment):
        if is_dead(other.data.tags, own_run):
            _close(client, other.info.run_id, "FAILED", f"its training had died; found when run {run} began")
            log.warning("the training of MLflow run %s had died: marked as FAILED", other.info.run_id)
    process = TypeAdapter(ProcessRef).dump_json(this_process()).decode()
    tags = {TAG_MODEL: model, TAG_RUN: run, TAG_OWN_RUN: own_run, TAG_PROCESS: process}
    created = client.create_run(experiment, tags=tags, run_name=run)
    _log_parameters(client, created.info.run_id, parameters(training))
    return created


def _experiment(client: "MlflowClient", model: str) -> str:
    """Id of the experiment that holds the model's trainings; made if there is none."""
    found = client.get_experiment_by_name(model)
    if found is None:
        with unless("RESOURCE_ALREADY_EXISTS"):
            return str(client.create_experiment(model))
        found = client.get_experiment_by_name(model)
    if found is None or found.lifecycle_stage != "active":
        raise TrackingError(
            f"The MLflow experiment {model!r} was deleted: restore it (`mlflow experiments restore`), "
            "or train under another model name."
        )
    return str(found.experiment_id)


def _running(client: "MlflowClient", experiment: str) -> "list[Run]":
    found: list[Run] = []
    token = None
    while True:
        page = client.search_runs([experiment], "attributes.status = 'RUNNING'", page_token=token)
        found.extend(page)
        token = page.token
        if not token:
            return found


def _finish(
    client: "MlflowClient", run_id: str, metrics: Mapping[str, float], confusion: ConfusionMatrix | None
) -> None:
    _log(client, run_id, {f"held_out/{name}": value for name, value in metrics.items()}, 0, None)
    tags = client.get_run(run_id).data.tags
    if TAG_REASON in tags:  # it was taken for dead
        client.set_tag(run_id, TAG_REASON, "")
    title = f"{tags.get(TAG_MODEL, 'model')}, run {tags.get(TAG_RUN, run_id)}"
    if confusion is not None:
        picture = plots.confusion_matrix(confusion.counts, title, confusion.classes)
        log_artifact(client, run_id, CONFUSION, picture)
    _close(client, run_id, "FINISHED")


def _close(client: "MlflowClient", run_id: str, status: str, reason: str = "") -> None:
    if reason:
        client.set_tag(run_id, TAG_REASON, reason[:LONGEST_TAG])
    client.set_terminated(run_id, status)


def _log(client: "MlflowClient", run_id: str, metrics: Mapping[str, float], step: int, when: float | None) -> None:
    from mlflow.entities import Metric

    milliseconds = int((time.time() if when is None else when) * 1000)
    points = [Metric(name, value, milliseconds, step) for name, value in metrics.items()]
    client.log_batch(run_id, metrics=points, synchronous=True)


def _log_parameters(client: "MlflowClient", run_id: str, values: Mapping[str, str]) -> None:
    from mlflow.entities import Param

    client.log_batch(run_id, params=[Param(name, value) for name, value in values.items()], synchronous=True)

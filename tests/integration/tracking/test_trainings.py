"""Trainings as MLflow keeps them."""

import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from tasks.data.sources import load_dataset
from tasks.errors import TrackingError
from tasks.evaluation.metrics import ConfusionMatrix
from tasks.records import DatasetRef, Training
from tasks.tracking.runs import CONFUSION, Tracker, TrainingCurves, tracked
from tasks.tracking.server import TAG_REASON, TrackingServer
from tasks.training.train import train
from tests.helpers.local import LocalStore, until
from tests.integration.tracking.conftest import LocalMlflow

TRAINING = Training(
    factory="tasks.models:sequential_mlp",
    seed=7,
    epochs=3,
    code_version="1234abc",
    dataset=DatasetRef(name="digits", sha256="ab" * 32, split_seed=11, held_out="datasets/digits/ab.npz"),
)
METRICS = {"accuracy": 0.97, "loss": 0.25, "accuracy_class_0": 0.96, "accuracy_class_1": 0.98}
CONFUSED = ConfusionMatrix(("0", "1"), np.array([[48, 2], [1, 49]]))


def runs_of(client: MlflowClient, model: str) -> list[Run]:
    experiment = client.get_experiment_by_name(model)
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"]))


def curve(client: MlflowClient, run_id: str, name: str) -> dict[int, float]:
    return {point.step: point.value for point in client.get_metric_history(run_id, name)}


def test_what_a_recipe_is_given_is_a_parameter(tracker: Tracker, client: MlflowClient, model: str) -> None:
    training = Training(recipe="shop.prices", settings={"units": 8, "names": ["a"]}, label="price")
    params = client.get_run(tracker.start(model, training, "bold-lynx", "train-1")).data.params
    assert params == {
        "recipe": "shop.prices",
        "settings.units": "8",
        "settings.names": '["a"]',
        "label": "price",
    }


def test_a_model_without_classes_leaves_no_picture(tracker: Tracker, client: MlflowClient, model: str) -> None:
    run_id = tracker.start(model, TRAINING, "bold-lynx", "train-1")
    tracker.finish(run_id, {"mae": 4.5}, None)
    assert client.get_run(run_id).data.metrics == {"held_out/mae": 4.5}
    assert not client.list_artifacts(run_id)


def test_a_training_leaves_its_parameters_curves_metrics_and_picture(
    tracker: Tracker, client: MlflowClient, model: str, tmp_path: Path
) -> None:
    with tracked(tracker, model, TRAINING, "bold-lynx", "train-1") as curves:
        for number in (1, 2, 3):
            curves(number, {"loss": 1 / number, "val_loss": 2 / number})
    tracker.finish(curves.run_id, METRICS, CONFUSED)

    run = client.get_run(curves.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params == {
        "factory": "tasks.models:sequential_mlp",
        "seed": "7",
        "epochs": "3",
        "code_version": "1234abc",
        "dataset": "digits",
        "dataset_sha256": "ab" * 32,
        "split_seed": "11",
    }
    assert curve(client, curves.run_id, "epoch/loss") == {1: 1.0, 2: 0.5, 3: pytest.approx(1 / 3)}
    assert curve(client, curves.run_id, "epoch/val_loss") == {1: 2.0, 2: 1.0, 3: pytest.approx(2 / 3)}
    assert run.data.metrics["held_out/accuracy"] == 0.97
    assert run.data.metrics["held_out/loss"] == 0.25
    assert run.data.metrics["held_out/accuracy_class_1"] == 0.98
    picture = client.download_artifacts(curves.run_id, CONFUSION, str(tmp_path))
    assert Path(picture).read_bytes().startswith(b"\x89PNG")


def test_a_real_training_has_each_of_its_epochs_in_its_curves(
    tracker: Tracker, client: MlflowClient, model: str
) -> None:

    with tracked(tracker, model, TRAINING, "bold-lynx", "train-1") as curves:
        trained = train("tasks.models:sequential_mlp", load_dataset("mnist-5k", 0), seed=7, epochs=2, on_epoch=curves)

    for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
        expected = {number: metrics[name] for number, metrics in enumerate(trained.history, 1)}
        assert curve(client, curves.run_id, f"epoch/{name}") == pytest.approx(expected)


def test_curves_can_be_watched_while_the_training_goes_on(tracker: Tracker, client: MlflowClient, model: str) -> None:
    with tracked(tracker, model, TRAINING, "bold-lynx", "train-1") as curves:
        curves(1, {"loss": 0.5})
        assert client.get_run(curves.run_id).info.status == "RUNNING"
        assert curve(client, curves.run_id, "epoch/loss") == {1: 0.5}


def test_a_point_that_is_sent_twice_is_one_point(tracker: Tracker, client: MlflowClient, model: str) -> None:
    run_id = tracker.start(model, TRAINING, "bold-lynx", "bold-lynx")
    tracker.epoch(run_id, 1, {"loss": 0.5}, when=1_700_000_000.0)
    tracker.epoch(run_id, 1, {"loss": 0.5}, when=1_700_000_000.0)
    assert len(client.get_metric_history(run_id, "epoch/loss")) == 1


def test_a_loss_that_is_no_number_is_kept_as_such(tracker: Tracker, client: MlflowClient, model: str) -> None:
    run_id = tracker.start(model, TRAINING, "bold-lynx", "bold-lynx")
    tracker.epoch(run_id, 1, {"loss": float("nan"), "val_loss": float("inf")})
    assert np.isnan(curve(client, run_id, "epoch/loss")[1])
    assert curve(client, run_id, "epoch/val_loss")[1] > 1e300


def test_a_training_that_raises_is_failed_with_the_reason(tracker: Tracker, client: MlflowClient, model: str) -> None:
    with pytest.raises(ZeroDivisionError), tracked(tracker, model, TRAINING, "bold-lynx", "train-1") as curves:
        curves(1, {"loss": 1 / 0})
    run = client.get_run(curves.run_id)
    assert run.info.status == "FAILED"
    assert run.data.tags[TAG_REASON] == "ZeroDivisionError: division by zero"


def test_a_training_that_was_killed_is_found_by_the_next_and_keeps_its_curves(
    tracker: Tracker, client: MlflowClient, model: str
) -> None:
    command = [sys.executable, "-m", "tests.integration.tracking.trainer", tracker.server.uri, model]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as trainer:
        assert trainer.stdout is not None
        killed = trainer.stdout.readline().strip()
        assert killed
        tracker.start(model, TRAINING, "while-it-lives", "while-it-lives")
        assert client.get_run(killed).info.status == "RUNNING"
        trainer.kill()

    tracker.start(model, TRAINING, "after-it-died", "after-it-died")

    run = client.get_run(killed)
    assert run.info.status == "FAILED"
    assert "after-it-died" in run.data.tags[TAG_REASON]
    assert curve(client, killed, "epoch/loss") == {1: 0.5}
    assert [r.info.status for r in runs_of(client, model)] == ["FAILED", "RUNNING", "RUNNING"]


def test_a_run_that_is_tried_again_closes_its_first_try(tracker: Tracker, client: MlflowClient, model: str) -> None:
    first = tracker.start(model, TRAINING, "bold-lynx", "bold-lynx")
    other = tracker.start(model, TRAINING, "other-run", "other-run")
    second = tracker.start(model, TRAINING, "bold-lynx", "bold-lynx")
    assert {run_id: client.get_run(run_id).info.status for run_id in (first, other, second)} == {
        first: "FAILED",
        other: "RUNNING",
        second: "RUNNING",
    }


def test_a_training_that_was_taken_for_dead_and_lives_ends_as_finished(
    tracker: Tracker, client: MlflowClient, model: str
) -> None:
    run_id = tracker.start(model, TRAINING, "bold-lynx", "bold-lynx")
    tracker.start(model, TRAINING, "bold-lynx", "bold-lynx")
    tracker.finish(run_id, METRICS, CONFUSED)
    run = client.get_run(run_id)
    assert (run.info.status, run.data.tags[TAG_REASON]) == ("FINISHED", "")


def test_two_first_trainings_at_once_share_one_experiment(tracker: Tracker, client: MlflowClient, model: str) -> None:
    together = threading.Barrier(4)

    def train(name: str) -> None:
        together.wait(10)
        tracker.start(model, TRAINING, name, name)

    threads = [threading.Thread(target=train, args=(f"run-{i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(runs_of(client, model)) == 4


def test_an_experiment_that_was_deleted_is_named(tracker: Tracker, client: MlflowClient, model: str) -> None:
    client.delete_experiment(client.create_experiment(model))
    with pytest.raises(TrackingError, match=f"experiment '{model}' was deleted: restore it"):
        tracker.start(model, TRAINING, "bold-lynx", "bold-lynx")


def test_the_server_may_die_while_a_training_goes_on(
    local_mlflow: LocalMlflow, client: MlflowClient, model: str
) -> None:
    patient = replace(TrackingServer.connect(local_mlflow.settings), patience=200.0)  # the server may start slowly
    tracker = Tracker(patient)
    curves = TrainingCurves(tracker, tracker.start(model, TRAINING, "bold-lynx", "bold-lynx"))
    curves(1, {"loss": 0.5})
    local_mlflow.kill()
    try:
        curves(2, {"loss": 0.4})
        curves(3, {"loss": 0.3})
        finishing = threading.Thread(target=tracker.finish, args=(curves.run_id, METRICS, CONFUSED))
        finishing.start()
    finally:
        local_mlflow.start()
    finishing.join(200)
    until(curves.send, "the points that were kept arrive")
    assert client.get_run(curves.run_id).info.status == "FINISHED"
    assert curve(client, curves.run_id, "epoch/loss") == {1: 0.5, 2: 0.4, 3: 0.3}


def test_the_store_behind_mlflow_may_be_away_when_a_training_ends(
    seaweedfs: LocalStore, tracker: Tracker, client: MlflowClient, model: str
) -> None:
    run_id = tracker.start(model, TRAINING, "bold-lynx", "bold-lynx")
    seaweedfs.kill()
    try:
        finishing = threading.Thread(target=tracker.finish, args=(run_id, METRICS, CONFUSED))
        finishing.start()
        until(lambda: "held_out/accuracy" in client.get_run(run_id).data.metrics, "the metrics are there")
        assert client.get_run(run_id).info.status == "RUNNING", "the picture has no place yet"
    finally:
        seaweedfs.start()
    finishing.join(90)
    assert client.get_run(run_id).info.status == "FINISHED"
    assert [file.path for file in client.list_artifacts(run_id)] == [CONFUSION]

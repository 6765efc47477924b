import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from tasks.data.dataset import Dataset
from tasks.errors import InvalidInput
from tasks.training.train import train

# One process of `make test` loads TensorFlow for these tests.
pytestmark = pytest.mark.xdist_group("keras")

Write = Callable[[str, str], str]

REPRODUCE = """
import hashlib, json, sys
from pathlib import Path
from tasks.data.dataset import split
from tasks.models import load
from tasks.savedmodel.content import content_id, describe_files
from tasks.training.export import export_saved_model
from tasks.training.modules import code_version
from tasks.training.train import train

data, folder = sys.argv[1:]
for name in ("mlp", "sequential_mlp"):
    trained = train(f"tasks.models:{name}", split("few", load(data), 1), seed=7, epochs=2)
    exported = export_saved_model(trained, Path(folder) / name)
    files = {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
             for p in exported.directory.rglob("*") if p.is_file() and p.name != "fingerprint.pb"}
    weights = [hashlib.sha256(w.tobytes()).hexdigest() for w in trained.loaded.model.get_weights()]
    identity = content_id(describe_files(exported.directory))
    print(json.dumps([weights, files, identity, trained.history, code_version(trained.loaded.spec)]))
"""

MODELS = """
import keras
import tensorflow as tf

def layers(last): return [keras.Input((28, 28, 1)), keras.layers.Flatten(), last]
def plain(): return keras.Sequential(layers(keras.layers.Dense(10, activation="softmax")))
def diverging():
    model = plain()
    model.compile(keras.optimizers.SGD(float("inf")), "sparse_categorical_crossentropy")
    return model
def three_classes(): return keras.Sequential(layers(keras.layers.Dense(3, activation="softmax")))
def other_shape(): return keras.Sequential([keras.Input((4,)), keras.layers.Dense(10, activation="softmax")])
def two_outputs():
    image = keras.Input((28, 28, 1))
    flat = keras.layers.Flatten()(image)
    model = keras.Model(image, [keras.layers.Dense(10)(flat), keras.layers.Dense(10)(flat)])
    model.compile("sgd", ["sparse_categorical_crossentropy", "sparse_categorical_crossentropy"])
    return model

class Unbuilt(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(10, activation="softmax")
    @tf.function(input_signature=[tf.TensorSpec([None, 28, 28, 1], tf.float32)])
    def call(self, x):
        return self.dense(tf.reshape(x, [-1, 784]))
def unbuilt(): return Unbuilt()
class Misspelt(Unbuilt):
    def build(self, shape):
        self.dense.build((None, 784))
        self.built = True
    @tf.function(input_signature=[tf.TensorSpec([None, 28, 28, 1], tf.float32)])
    def call(self, x):
        return self.dense(tf.reshape(x * tf.SCALE, [-1, 784]))
def misspelt():
    model = Misspelt()
    model.build(None)
    return model
"""


@pytest.fixture
def models(user_module: Write) -> str:
    return user_module("my_trainings", MODELS)


@pytest.mark.soak
def test_the_same_seed_data_and_code_give_the_same_bytes_in_fresh_processes(digits: Dataset, tmp_path: Path) -> None:
    np.savez(tmp_path / "few.npz", x=digits.test.features["x"][::2], y=digits.test.labels["y"][::2])
    runs = []
    for number in ("1", "2"):
        command = [sys.executable, "-c", REPRODUCE, str(tmp_path / "few.npz"), str(tmp_path / number)]
        environment = {**os.environ, "PYTHONHASHSEED": number}
        runs.append(
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        )
    first, second = (run.communicate(timeout=200) for run in runs)
    assert [run.returncode for run in runs] == [0, 0], first[1][-2000:] + second[1][-2000:]
    told = [json.loads(line) for line in first[0].splitlines()]
    assert len(told) == 2
    assert told == [json.loads(line) for line in second[0].splitlines()]


def test_another_seed_gives_other_weights(few_digits: Dataset) -> None:
    first, again, other = (train("tasks.models:mlp", few_digits, seed=seed, epochs=1) for seed in (1, 1, 2))
    weights = [model.loaded.model.get_weights()[0] for model in (first, again, other)]
    assert np.array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])


def test_each_epoch_is_told_and_logged(few_digits: Dataset, caplog: pytest.LogCaptureFixture) -> None:
    told: list[tuple[int, Mapping[str, float]]] = []
    with caplog.at_level(logging.INFO, "tasks.training.train"):
        trained = train(
            "tasks.models:mlp",
            few_digits,
            seed=1,
            epochs=2,
            on_epoch=lambda number, metrics: told.append((number, metrics)),
        )
    assert [number for number, _ in told] == [1, 2]
    assert [metrics for _, metrics in told] == list(trained.history)
    assert told[0][1].keys() == {"accuracy", "loss", "val_accuracy", "val_loss"}
    lines = [record.message for record in caplog.records if record.message.startswith("epoch")]
    assert [line.partition(":")[0] for line in lines] == ["epoch 1 of 2", "epoch 2 of 2"]
    assert f"val_loss {told[1][1]['val_loss']:.4f}" in lines[1]


def test_a_model_that_was_not_compiled_is_trained_as_a_classifier(models: str, few_digits: Dataset) -> None:
    trained = train(f"{models}:plain", few_digits, seed=0, epochs=1)
    assert trained.history[0].keys() >= {"accuracy", "loss"}
    assert trained.answers["y"].shape == (len(few_digits.test), 10)
    assert trained.outputs["y"].kind == "classes"


def test_an_error_of_the_caller_passes_through(few_digits: Dataset) -> None:
    def away(number: int, metrics: Mapping[str, float]) -> None:
        raise InvalidInput("tracking is away")

    with pytest.raises(InvalidInput, match="tracking is away"):
        train("tasks.models:mlp", few_digits, seed=1, epochs=1, on_epoch=away)


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("diverging", "loss became nan in epoch 1 of 1, expected a finite number. Lower the learning rate"),
        ("three_classes", r"Label 'y' has 10 classes \(0, 1, .*\), and the model tells 3 apart"),
        ("other_shape", r"The data has 'x' float32 \[N, 28, 28, 1\]; the model of .* takes '\w+' float32 \[N, 4\]"),
        ("two_outputs", "has the outputs dense.*Each output learns the label of its name"),
        ("unbuilt", r"give the class a build\(\) that builds every layer"),
        ("misspelt", r"\(AttributeError: module 'tensorflow' has no attribute 'SCALE'\)\. The model's own code raises"),
    ],
)
def test_a_model_that_cannot_be_trained_says_why(models: str, few_digits: Dataset, factory: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        train(f"{models}:{factory}", few_digits, seed=0, epochs=1)


@pytest.mark.parametrize(
    ("seed", "epochs", "message"),
    [
        (-1, 1, "Seed -1 is out of range: give a whole number from 0 to 4294967295"),
        (2**32, 1, "Seed 4294967296 is out of range"),
        (0, 0, "0 epochs cannot be trained: give at least 1"),
    ],
)
def test_seeds_and_epochs_out_of_range_are_refused(few_digits: Dataset, seed: int, epochs: int, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        train("tasks.models:mlp", few_digits, seed=seed, epochs=epochs)

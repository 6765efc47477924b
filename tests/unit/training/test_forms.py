"""Recipes for data of every form: trained, exported, and answering through the session loader as they were trained."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.data.dataset import split
from tasks.data.examples import Loaded
from tasks.errors import InvalidData
from tasks.evaluation.questions import answers_of_folder
from tasks.records import ScoredOutput
from tasks.savedmodel.read import SavedModelFolder
from tasks.training.export import export_saved_model
from tasks.training.train import TrainedModel, train
from tasks.wire.dtypes import Array

# One process of `make test` loads TensorFlow for these tests.
pytestmark = pytest.mark.xdist_group("keras")

Write = Callable[[str, str], str]

N = 200
RANDOM = np.random.default_rng(0)
NUMBERS = RANDOM.normal(size=(N, 4)).astype(np.float32)
COLUMN = NUMBERS[:, 0].astype(np.float64)
WORDS = np.array([f"{word} {number}" for number in range(N // 4) for word in ("good", "bad", "great", "awful")])
COLOURS = np.array(["red", "blue", "green"])[RANDOM.integers(0, 3, N)]
TOKENS = RANDOM.integers(1, 50, (N, 7))
IMAGES = RANDOM.integers(0, 255, (N, 8, 8, 3)).astype(np.uint8)

RECIPES = """
import keras
import numpy as np
import tensorflow as tf
layers = keras.layers

def compiled(model, loss):
    model.compile("adam", loss)
    return model

def regression(data):
    inputs = {name: keras.Input((1,), name=name) for name in ("a", "b")}
    norm = layers.Normalization()
    norm.adapt(np.stack([data.features[name] for name in inputs], axis=1))
    price = layers.Dense(1, name="price")(norm(layers.Concatenate()(list(inputs.values()))))
    return compiled(keras.Model(inputs, price), "mae")

def mixed(data):
    word, number = keras.Input((1,), dtype="string", name="colour"), keras.Input((1,), name="a")
    lookup = layers.StringLookup(output_mode="one_hot")
    lookup.adapt(data.features["colour"])
    x = layers.Concatenate()([lookup(word), number])
    scores = layers.Dense(len(data.classes), activation="softmax")(x)
    return compiled(keras.Model({"colour": word, "a": number}, scores), "sparse_categorical_crossentropy")

def text(data):
    lookup = layers.TextVectorization(max_tokens=50, output_sequence_length=4)
    lookup.adapt(data.features["x"])
    words = keras.Input((), dtype="string", name="text")  # of [N], whose rows are no arrays
    x = layers.GlobalAveragePooling1D()(layers.Embedding(50, 4)(lookup(words)))
    return compiled(keras.Model(words, layers.Dense(1, activation="sigmoid")(x)), "binary_crossentropy")

def images(data):
    inputs = keras.Input(data.shapes["x"], dtype="uint8", name="image")
    x = layers.RandomFlip()(layers.Rescaling(1 / 255)(inputs))
    x = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(layers.BatchNormalization()(layers.Conv2D(4, 3)(x))))
    return compiled(keras.Model(inputs, layers.Dense(3, activation="softmax")(x)), "sparse_categorical_crossentropy")

def two(data):
    a, b = keras.Input((4,), name="numbers"), keras.Input((1,), name="b")
    x = layers.Concatenate()([a, b])
    outputs = {"price": layers.Dense(1, name="price")(x), "kind": layers.Dense(3, name="kind", activation="softmax")(x)}
    return compiled(keras.Model([a, b], outputs), {"price": "mse", "kind": "sparse_categorical_crossentropy"})

def flags(data):
    model = keras.Sequential([keras.Input((4,), name="numbers"), layers.Dense(3, activation="sigmoid")])
    return compiled(model, "binary_crossentropy")

def one_hot(data):
    model = keras.Sequential([keras.Input((4,), name="numbers"), layers.Dense(3, activation="softmax")])
    return compiled(model, "categorical_crossentropy")

def sequence(data):
    tokens = keras.Input((None,), name="tokens", dtype="int64")
    x = layers.LSTM(4)(layers.Embedding(50, 4, mask_zero=True)(tokens))
    return compiled(keras.Model(tokens, layers.Dense(2, activation="softmax")(x)), "sparse_categorical_crossentropy")

class Beside(keras.Model):
    def __init__(self):
        super().__init__()
        self.parts = [layers.BatchNormalization(), layers.Dropout(0.5), layers.Dense(3)]
    def call(self, inputs, training=False):
        for layer in self.parts:
            inputs = layer(inputs, training=training)
        return inputs
    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="numbers")])
    def answer(self, numbers):
        scores = self(numbers, training=False)
        return {"best": tf.argmax(scores, -1), "scores": scores}
def beside(data):
    return compiled(Beside(), keras.losses.SparseCategoricalCrossentropy(from_logits=True))

def uncompiled(data): return keras.Sequential([keras.Input((4,), name="numbers"), layers.Dense(1)])
"""

CASES: dict[str, tuple[dict[str, Array], dict[str, Array], dict[str, str], dict[str, ScoredOutput]]] = {
    "regression": (
        {"a": COLUMN, "b": COLUMN, "c": COLUMN},
        {"price": 3 * COLUMN},
        {"a": "a", "b": "b"},
        {"price": ScoredOutput("output_0", "numbers")},
    ),
    "mixed": (
        {"colour": COLOURS, "a": COLUMN},
        {"kind": np.where(COLOURS == "red", "hot", "cold")},
        {"colour": "colour", "a": "a"},
        {"kind": ScoredOutput("output_0", "classes", ("cold", "hot"))},
    ),
    "text": (
        {"x": WORDS},
        {"y": np.char.startswith(WORDS, "g").astype(int)},
        {"text": "x"},
        {"y": ScoredOutput("output_0", "binary", ("0", "1"))},
    ),
    "images": (
        {"x": IMAGES},
        {"y": COLOURS},
        {"image": "x"},
        {"y": ScoredOutput("output_0", "classes", ("blue", "green", "red"))},
    ),
    "two": (
        {"numbers": NUMBERS, "b": COLUMN},
        {"price": COLUMN, "kind": COLOURS},
        {"numbers": "numbers", "b": "b"},
        {"price": ScoredOutput("price", "numbers"), "kind": ScoredOutput("kind", "classes", ("blue", "green", "red"))},
    ),
    "flags": (
        {"x": NUMBERS},
        {"y": (NUMBERS[:, :3] > 0).astype(int)},
        {"numbers": "x"},
        {"y": ScoredOutput("output_0", "flags")},
    ),
    "one_hot": (
        {"x": NUMBERS},
        {"y": COLOURS},
        {"numbers": "x"},
        {"y": ScoredOutput("output_0", "classes", ("blue", "green", "red"))},
    ),
    "sequence": (
        {"x": TOKENS},
        {"y": TOKENS[:, 0] % 2 + 7},
        {"tokens": "x"},
        {"y": ScoredOutput("output_0", "classes", ("7", "8"))},
    ),
    "beside": (
        {"x": NUMBERS},
        {"y": COLOURS},
        {"numbers": "x"},
        {"y": ScoredOutput("scores", "classes", ("blue", "green", "red"))},
    ),
    "uncompiled": ({"x": NUMBERS}, {"y": COLUMN}, {"numbers": "x"}, {"y": ScoredOutput("output_0", "numbers")}),
}


def trained_on(spec: str, features: dict[str, Array], labels: dict[str, Array]) -> tuple[TrainedModel, Any]:
    dataset = split("data", Loaded(features, labels), split_seed=0)
    return train(spec, dataset, seed=1, epochs=1), dataset


@pytest.mark.parametrize("name", CASES)
def test_data_of_any_form_is_learnt_served_and_scored(user_module: Write, tmp_path: Path, name: str) -> None:
    features, labels, inputs, outputs = CASES[name]
    trained, dataset = trained_on(f"{user_module('all_forms', RECIPES)}:{name}", features, labels)
    assert trained.scored is not None
    assert (trained.scored.inputs, trained.scored.outputs) == (inputs, outputs)
    assert trained.unused == tuple(features.keys() - set(inputs.values()))

    exported = export_saved_model(trained, tmp_path / "1")
    signatures = SavedModelFolder.read(exported.directory).signatures
    served = answers_of_folder(exported.directory, trained.scored, signatures, dataset.test.features)
    for label, answer in served.items():
        assert np.allclose(answer, trained.answers[label], 1e-3, 1e-4), label


@pytest.mark.parametrize(
    ("name", "features", "labels", "message"),
    [
        ("two", {"x": NUMBERS}, {"y": COLUMN}, r"The data has 'x' float32 \[N, 4\]; the model .* 'b' float32 \[N, 1\]"),
        ("flags", {"x": WORDS}, {"y": COLUMN}, r"The data has 'x' string \[N\]; the model .* takes 'numbers' float32"),
        ("flags", {"x": NUMBERS}, {"y": COLOURS}, r"'y' has shape \[\d+\], and output '\w+' gives 3 scores"),
        ("regression", {"a": COLUMN, "b": COLUMN}, {"price": COLOURS}, "'price' holds 'blue', .* gives numbers"),
        ("two", {"numbers": NUMBERS, "b": COLUMN}, {"price": COLUMN}, "has the labels price; .* price, kind"),
        (
            "images",
            {"x": IMAGES},
            {"y": np.arange(N) % 4 + 5},
            r"'y' has 4 classes \(5, 6, 7, 8\), and the model tells 3 apart",
        ),
    ],
)
def test_data_that_does_not_go_with_the_model_is_refused(
    user_module: Write, name: str, features: dict[str, Array], labels: dict[str, Array], message: str
) -> None:
    with pytest.raises(InvalidData, match=message):
        trained_on(f"{user_module('all_forms', RECIPES)}:{name}", features, labels)


DIGITS = RANDOM.integers(0, 255, (N, 28, 28)).astype(np.uint8)
OF_DIGITS = """
import keras
layers = keras.layers
def model(inputs, *more):
    x = inputs
    for layer in (*more, layers.Flatten(), layers.Dense(10, activation="softmax")):
        x = layer(x)
    made = keras.Model(inputs, x)
    made.compile("adam", "sparse_categorical_crossentropy")
    return made
def make(): return model(keras.Input((28, 28, 1), name="inputs"))
def of_bytes(): return model(keras.Input((28, 28, 1), name="inputs", dtype="uint8"), layers.Rescaling(1 / 255))
"""


@pytest.mark.parametrize(
    ("spec", "scaled"), [("of_digits:make", True), ("of_digits:of_bytes", False), ("of_digits", False)]
)
def test_digits_are_scaled_for_a_factory_whose_model_takes_floats_alone(
    user_module: Write, spec: str, scaled: bool
) -> None:
    user_module("of_digits", OF_DIGITS)
    trained, _ = trained_on(spec, {"x": DIGITS}, {"y": np.arange(N) % 10})
    (examples,) = trained.examples.values()
    assert trained.scaled == scaled
    assert (examples.max() <= 1) == scaled

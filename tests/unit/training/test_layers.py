"""Layers that act only in training are found where they could not act, and nowhere else."""

from collections.abc import Callable

import numpy as np
import pytest

from tasks.errors import InvalidModel
from tasks.training.layers import require_acting
from tasks.training.modules import HERE, import_module

# One process of `make test` loads TensorFlow for these tests.
pytestmark = pytest.mark.xdist_group("keras")

MODELS = """
import keras
import tensorflow as tf

SPEC = [tf.TensorSpec([None, 4], tf.float32, name="inputs")]

class Base(keras.Model):
    def __init__(self, *layers):
        super().__init__()
        self.parts = [*layers, keras.layers.Dense(2)]
        for layer in self.parts:
            if not layer.built:
                layer.build((None, 4))
        self.built = True
    def run(self, inputs):
        for layer in self.parts:
            inputs = layer(inputs)
        return inputs

class Traced(Base):
    @tf.function(input_signature=SPEC)
    def call(self, inputs):
        return self.run(inputs)

class Beside(Base):
    def call(self, inputs, training=False):
        for layer in self.parts:
            inputs = layer(inputs, training=training) if layer._call_has_training_arg else layer(inputs)
        return inputs
    @tf.function(input_signature=SPEC)
    def serve(self, inputs):
        return self(inputs, training=False)

class Unused(Traced):
    def __init__(self):
        super().__init__()
        self.later = keras.layers.Dropout(0.5)

class OwnStep(Traced):
    def train_step(self, data):
        return super().train_step(data)

def nested(): return keras.Sequential([keras.Input((4,)), keras.layers.Dense(4), keras.layers.Dropout(0.2)])
def dropout(): return Traced(keras.layers.Dropout(0.5))
def normalization(): return Traced(keras.layers.BatchNormalization())
def noise(): return Traced(keras.layers.GaussianNoise(0.1))
def derived():
    class Mine(keras.layers.Dropout):
        pass
    return Traced(Mine(0.5))
def inside(): return Traced(nested())
def rate_zero(): return Traced(keras.layers.Dropout(0.0))
def plain(): return Traced()
def unused(): return Unused()
def own_step(): return OwnStep(keras.layers.Dropout(0.5))
def beside(): return Beside(keras.layers.BatchNormalization(), keras.layers.Dropout(0.5))
"""


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("dropout", "Dropout"),
        ("normalization", "BatchNormalization"),
        ("noise", "GaussianNoise"),
        ("derived", "Mine"),
        ("inside", "Dropout"),
    ],
)
def test_a_layer_that_could_never_act_is_named(user_module: Callable[[str, str], str], name: str, layer: str) -> None:
    module = import_module(user_module("silent_layers", MODELS), HERE)
    with pytest.raises(
        InvalidModel, match=rf"{layer} \(\w+\) would never act.*Keep `call\(self, inputs, training=False"
    ):
        require_acting("silent_layers:make", getattr(module, name)(), np.zeros((2, 4), np.float32))


@pytest.mark.parametrize("name", ["rate_zero", "plain", "unused", "own_step", "beside", "nested"])
def test_layers_that_act_or_are_not_asked_are_left_alone(user_module: Callable[[str, str], str], name: str) -> None:
    module = import_module(user_module("silent_layers", MODELS), HERE)
    require_acting("silent_layers:make", getattr(module, name)(), np.zeros((2, 4), np.float32))

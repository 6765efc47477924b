"""The price of a flat, in thousands, from its area, rooms and district."""

import keras
import numpy as np
from keras import layers

from tasks.training.recipe import lower

GATE = {"mae": lower(by=1, at_most=40)}


def make(data, units: int = 32, rate: float = 0.05):
    """A small network; `units` in its hidden layer."""
    inputs = {
        "area": keras.Input((1,), name="area"),
        "rooms": keras.Input((1,), name="rooms"),
        "district": keras.Input((1,), name="district", dtype="string"),
    }
    numbers = layers.Normalization()
    numbers.adapt(np.stack([data.features["area"], data.features["rooms"]], axis=1))
    districts = layers.StringLookup(output_mode="one_hot")
    districts.adapt(data.features["district"])
    x = layers.Concatenate()(
        [
            numbers(layers.Concatenate()([inputs["area"], inputs["rooms"]])),
            districts(inputs["district"]),
        ]
    )
    x = layers.Dense(units, activation="relu")(x)
    typical = keras.initializers.Constant(np.median(data.labels["price"]))
    model = keras.Model(inputs, layers.Dense(1, bias_initializer=typical)(x))
    model.compile(keras.optimizers.Adam(rate), "mae")
    return model

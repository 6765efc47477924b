"""The recipe trains on the data that it is for, and answers to what clients send."""

from pathlib import Path

import numpy as np
from shop.prices import make

from tasks.data.sources import load_dataset
from tasks.training.recipe import TrainingData

FLATS = Path(__file__).parents[1] / "data" / "flats.csv"


def test_it_learns_that_larger_flats_cost_more():
    rows = load_dataset(str(FLATS), split_seed=0, label="price").train
    model = make(TrainingData(rows.features, rows.labels), units=8, rate=0.1)
    columns = {name: column[:, np.newaxis] for name, column in rows.features.items()}
    model.fit(as_tensors(columns), rows.labels["price"], epochs=10, verbose=0)
    flats = {"area": [[30.0], [120.0]], "rooms": [[2.0], [2.0]], "district": [["north"], ["north"]]}
    small, large = model.predict(as_tensors(flats), verbose=0)[:, 0]
    assert 0 < small < large


def as_tensors(columns):
    import tensorflow as tf

    return {name: tf.constant(column) for name, column in columns.items()}

"""Rows that are larger than memory as Keras takes them: batch by batch, always in the same order for the same seed."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tasks.data.examples import Examples
from tasks.data.mapped import slices
from tasks.wire.dtypes import Array

_BESIDE = 16  # pieces whose rows are shuffled among each other


def batched(rows: Examples, form: Callable[[Examples], Any], size: int, seed: int | None = None) -> Any:
    """A `tf.data.Dataset` of what `form` makes of each `size` rows: a tuple of arrays, or of structures of them.

    Args:
        seed: of the order, which is another one each time that the dataset is gone through; None: as the rows are.
    """
    import keras
    import tensorflow as tf

    random = np.random.default_rng(seed)

    def order(_: Array) -> Array:
        return np.arange(len(rows)) if seed is None else shuffled(rows, random)

    def formed(numbers: Array) -> list[Array]:
        return [np.asarray(array) for array in keras.tree.flatten(form(rows.rows(numbers)))]

    # A list would become one tensor.
    structure, few = keras.tree.lists_to_tuples(form(rows.rows(slice(1)))), formed(np.arange(1))

    def batch(numbers: Any) -> Any:
        tensors = tf.numpy_function(formed, [numbers], [array.dtype for array in few])
        shaped = [tf.ensure_shape(t, (None, *a.shape[1:])) for t, a in zip(tensors, few, strict=True)]
        return keras.tree.pack_sequence_as(structure, shaped)

    # Not from_generator: an iterator of it that is left over complains as the process ends.
    orders = tf.data.Dataset.range(1).map(lambda n: tf.ensure_shape(tf.numpy_function(order, [n], tf.int64), [None]))
    dataset = orders.flat_map(tf.data.Dataset.from_tensor_slices).batch(size).map(batch)
    return dataset.apply(tf.data.experimental.assert_cardinality(math.ceil(len(rows) / size))).prefetch(1)


def shuffled(rows: Examples, random: np.random.Generator) -> Array:
    """The numbers of rows in a random order that reads files well: int64 `[N]`.

    Pieces of rows that lie beside each other are put in any order; then the rows of each few pieces.
    """
    count, piece = len(rows), next(slices(*rows.features.values(), *rows.labels.values())).stop
    starts = random.permutation(math.ceil(count / piece)) * piece
    order: Array = (starts[:, None] + np.arange(piece)).ravel()
    order = order[order < count]
    for start in range(0, count, _BESIDE * piece):
        random.shuffle(order[start : start + _BESIDE * piece])
    return order

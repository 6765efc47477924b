"""Layers that act only in training, and whether a model lets them act."""

import re
from collections.abc import Iterator
from typing import Any

from tasks.errors import InvalidModel
from tasks.training.methods import input_signature
from tasks.training.modules import named

_OF_TRAINING = re.compile(r"Dropout|Noise|^Rand|^MixUp$|^CutMix$|^AugMix$|^(Batch|Spectral)Normalization$")
_INSTEAD = (
    "Keep `call(self, inputs, training=False)` plain, without @tf.function, so that it is traced anew for training, "
    "and let a method beside it be served: `@tf.function(input_signature=[...]) def serve(self, inputs): return "
    "self(inputs, training=False)`."
)


def require_acting(spec: str, model: Any, inputs: Any) -> None:
    """Raise if a layer of Keras that acts only in training could not act: Dropout, BatchNormalization, noise and such.

    A `call` with an `input_signature` is traced once, and takes no `training`: what training runs is what is served.
    A model whose `train_step` is its own may train by another way, and is left to it.

    Args:
        inputs: a few examples, as the model takes them.

    Raises:
        InvalidModel: names the layers, and says what to write instead.
    """
    import keras

    traced = input_signature(model.call) is not None
    if not traced or type(model).train_step is not keras.Model.train_step:
        return
    silent = [layer for layer in _training_layers(model) if _is_called(layer, model, inputs)]
    if silent:
        names = ", ".join(f"{type(layer).__name__} ({layer.name})" for layer in silent)
        raise InvalidModel(
            f"{named(spec)}: {names} would never act, since `call` has an input_signature and so is the same in "
            f"training and when it is served. {_INSTEAD}"
        )


def _training_layers(model: Any) -> Iterator[Any]:
    """The layers of Keras' own, or derived from one, that answer otherwise in training than when served."""
    for layer in model._flatten_layers(include_self=False):
        kinds = [kind.__name__ for kind in type(layer).__mro__ if kind.__module__.startswith("keras.")]
        acts = any(map(_OF_TRAINING.search, kinds)) and getattr(layer, "rate", 1) != 0
        if acts or any(getattr(layer, name, 0) for name in ("dropout", "recurrent_dropout")):  # of LSTM, attention
            yield layer


def _is_called(layer: Any, model: Any, inputs: Any) -> bool:
    """Whether the model's traced `call` runs this layer."""
    met = []
    whole = layer.call

    def noted(*args: Any, **kwargs: Any) -> Any:
        met.append(True)
        return whole(*args, **kwargs)

    layer.call = noted
    try:
        model.call.python_function(inputs)
    finally:
        layer.call = whole
    return bool(met)

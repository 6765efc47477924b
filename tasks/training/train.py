"""Training a classifier, reproducibly."""

import logging
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tasks.data.dataset import Dataset
from tasks.errors import InvalidInput, InvalidModel, SlipwayError
from tasks.evaluation.metrics import Evaluation, evaluate
from tasks.savedmodel.messages import reason
from tasks.training.factory import HERE, LoadedModel, load_model
from tasks.wire.dtypes import Array

log = logging.getLogger(__name__)

OnEpoch = Callable[[int, Mapping[str, float]], None]  # number of the epoch, from 1; its metrics by name

BATCH_SIZE = 64
_GOLDEN = 16


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A trained model, how its training went and how good it is."""

    loaded: LoadedModel
    history: tuple[Mapping[str, float], ...]  # per epoch: loss, accuracy, val_loss, val_accuracy
    evaluation: Evaluation  # on the held-out part
    examples: Array  # the first held-out examples, float32 [16, 28, 28, 1]


def train(
    spec: str,
    dataset: Dataset,
    *,
    seed: int,
    epochs: int,
    signatures: Mapping[str, str] | None = None,
    on_epoch: OnEpoch | None = None,
    project: Path = HERE,
) -> TrainedModel:
    """Make the model that `spec` names, train it on `dataset` and evaluate it on the held-out part.

    In a fresh process the same seed, data and code give the same weights, bit for bit. A model that its factory did not
    compile is trained with Adam on the cross-entropy of its probabilities `[N, classes]`.

    Args:
        signatures, project: as `tasks.training.factory.load_model` takes them.
        on_epoch: called after each epoch with its number, from 1, and its metrics.

    Raises:
        InvalidModel: as `load_model` does; the model cannot be trained on this data, or its loss is not finite.
        InvalidInput: `seed` or `epochs` out of range.
    """
    if not 0 <= seed < 2**32:
        raise InvalidInput(f"Seed {seed} is out of range: give a whole number from 0 to {2**32 - 1}.")
    if epochs < 1:
        raise InvalidInput(f"{epochs} epochs cannot be trained: give at least 1.")
    _start_over(seed)
    loaded = load_model(spec, signatures, project)
    model = loaded.model
    if not model.compiled:
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=False)
    history = _fit(loaded, dataset, epochs, on_epoch)
    evaluation = evaluate(_scores(loaded, dataset), dataset.y_test)
    log.info("%s: held-out accuracy %.4f, loss %.4f", spec, evaluation.accuracy, evaluation.loss)
    return TrainedModel(
        loaded=loaded,
        history=history,
        evaluation=evaluation,
        examples=dataset.x_test[:_GOLDEN],
    )


def _start_over(seed: int) -> None:
    """Reset this process to the state that `seed` determines."""
    import keras
    import tensorflow as tf

    keras.backend.clear_session()  # layers are numbered: a second training must name them as the first did
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def _fit(
    loaded: LoadedModel, dataset: Dataset, epochs: int, on_epoch: OnEpoch | None
) -> tuple[Mapping[str, float], ...]:
    import keras

    history: list[Mapping[str, float]] = []

    def end_epoch(epoch: int, logs: Mapping[str, Any]) -> None:
        metrics = {name: float(value) for name, value in logs.items()}
        _require_finite(metrics, epoch + 1, epochs, loaded.spec)
        history.append(metrics)
        shown = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
        log.info("epoch %d of %d: %s", epoch + 1, epochs, shown)
        if on_epoch:
            on_epoch(epoch + 1, metrics)

    try:
        loaded.model.fit(
            dataset.x_train,
            dataset.y_train,
            batch_size=BATCH_SIZE,
            epochs=epochs,
            validation_data=(dataset.x_validation, dataset.y_validation),
            callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=end_epoch)],
            verbose=0,
        )
    except SlipwayError:
        raise
    except Exception as error:
        raise _untrainable(loaded.spec, error) from error
    return tuple(history)


def _require_finite(metrics: Mapping[str, float], epoch: int, epochs: int, spec: str) -> None:
    for name in ("loss", "val_loss"):
        if not math.isfinite(metrics.get(name, 0.0)):
            raise InvalidModel(
                f"Training of {spec} was stopped: {name} became {metrics[name]} in epoch {epoch} of {epochs}, expected "
                "a finite number. Lower the learning rate, or look for a logarithm or division by zero in the model."
            )


# Errors that say that code is wrong, not what it is given; Keras names some of them in the text of a RuntimeError.
_OF_CODE = re.compile(r"\b(Assertion|Attribute|Import|Index|Key|ModuleNotFound|Name|UnboundLocal|ZeroDivision)Error\b")


def _untrainable(spec: str, error: Exception) -> InvalidModel:
    failure = f"{type(error).__name__}: {reason(error)}"
    advice = "It must take float32 [N, 28, 28, 1] and give one probability per class, [N, classes]."
    if "No gradients provided" in failure:
        advice = (
            "Its weights did not exist when call was traced: give the class a build() that builds every layer and sets "
            "self.built = True, and let the factory call it."
        )
    elif "training" in failure and "argument" in failure:
        advice = (
            "A call with an input_signature takes no `training`: keep call(inputs, training=False) plain and decorate "
            "another method for serving."
        )
    elif _OF_CODE.search(failure) and "shape" not in failure:
        advice = "The model's own code raises this: repair it there."
    return InvalidModel(f"The model of {spec} cannot be trained ({failure}). {advice}")


def _scores(loaded: LoadedModel, dataset: Dataset) -> Array:
    """The model's scores of the held-out examples, float32 `[N, classes]`."""
    try:
        scores = loaded.model.predict(dataset.x_test, verbose=0)
    except Exception as error:
        raise _untrainable(loaded.spec, error) from error
    least = int(dataset.y_test.max()) + 1
    if not isinstance(scores, np.ndarray) or scores.ndim != 2 or scores.shape[1] < least:
        given = list(scores.shape) if isinstance(scores, np.ndarray) else type(scores).__name__
        raise InvalidModel(
            f"The model of {loaded.spec} gives {given} for {len(dataset.x_test)} examples, expected "
            f"[{len(dataset.x_test)}, classes] with at least {least} classes."
        )
    if not np.isfinite(scores).all():
        raise InvalidModel(
            f"The model of {loaded.spec} gives NaN or Infinity for held-out examples: it learnt nothing."
        )
    return scores

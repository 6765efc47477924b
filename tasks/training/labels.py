"""What a model's outputs answer: classes, numbers or flags; and labels in the form that its loss takes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tasks.errors import InvalidData
from tasks.records import OutputKind, ScoredOutput
from tasks.wire.dtypes import Array

_MOST_NAMED = 8  # classes in a message


@dataclass(frozen=True)
class Head:
    """An output of a model as it is trained: its name, how many numbers it gives for each example, its loss."""

    name: str
    width: int  # 1 for [N] and [N, 1]
    rank: int  # of the batch: 2 for [N, width]
    loss: str  # Keras' name of it, such as `sparse_categorical_crossentropy`; empty if not known


def scored_output(label: str, values: Array, head: Head) -> ScoredOutput:
    """What `head` answers, told by its loss and by the label's values.

    Raises:
        InvalidData: the label's values cannot be learnt by such an output; says what to do.
    """
    kind = _kind(values, head)
    if kind == "numbers":
        if values.dtype.kind not in "iufb":
            raise InvalidData(
                f"Label {label!r} holds {_examples(values)}, and output {head.name!r} with the loss "
                f"{head.loss or 'that it has'} gives numbers: train on a column of numbers, or end the model with one "
                "score for each class."
            )
        return ScoredOutput(head.name, kind)
    if kind == "flags" or values.ndim > 1:  # a column for each flag, or for each class (one-hot)
        if values.ndim < 2 or values.shape[1] != head.width:
            raise InvalidData(
                f"Label {label!r} has shape {list(values.shape)}, and output {head.name!r} gives {head.width} scores "
                "for each example: they must have as many columns."
            )
        return ScoredOutput(head.name, kind)
    return ScoredOutput(head.name, kind, class_names(label, values, 2 if kind == "binary" else head.width))


def _kind(values: Array, head: Head) -> OutputKind:
    if "binary" in head.loss or head.loss in ("hinge", "squared_hinge"):
        return "binary" if head.width == 1 else "flags"
    if "categorical" in head.loss:
        return "classes"
    if head.loss in ("", "_"):  # a loss of the user's own, or none: told by the values
        if values.dtype.kind in "OSUb" or (values.dtype.kind in "iu" and head.width > 1 and values.ndim == 1):
            return "binary" if head.width == 1 else "classes"
        return "numbers"
    return "numbers"


def class_names(label: str, values: Array, width: int) -> tuple[str, ...]:
    """What the numbers 0 … width - 1 mean.

    Whole numbers within that range mean themselves. All other labels are numbered in their order.

    Raises:
        InvalidData: there are more or fewer classes than the model tells apart.
    """
    if values.dtype.kind in "iu" and values.min() >= 0 and values.max() < width:
        return tuple(map(str, range(width)))
    distinct = np.unique(values)
    if len(distinct) != width:
        shown = ", ".join(map(str, distinct[:_MOST_NAMED])) + (", …" if len(distinct) > _MOST_NAMED else "")
        raise InvalidData(
            f"Label {label!r} has {len(distinct)} classes ({shown}), and the model tells {width} apart: let it end "
            f"with {len(distinct)} scores for each example (`len(data.classes)` in the recipe's make)."
        )
    return tuple(map(str, distinct))


def encoded(label: str, values: Array, scored: ScoredOutput, head: Head) -> Array:
    """A label as the output's loss takes it: class numbers, one column for each class, or floats.

    Raises:
        InvalidData: a value that the training part of the data did not have.
    """
    if scored.kind in ("numbers", "flags"):
        return _columns(values.astype(np.float32), head)
    if values.ndim > 1:
        return values.astype(np.float32)
    numbers = class_numbers(label, values, scored.classes)
    if scored.kind == "binary":
        return _columns(numbers.astype(np.float32), head)
    one_hot = head.loss.startswith("categorical")
    return np.eye(head.width, dtype=np.float32)[numbers] if one_hot else numbers


def class_numbers(label: str, values: Array, classes: tuple[str, ...]) -> Array:
    """The number of each value among the names of the classes: int64 `[N]`.

    Raises:
        InvalidData: a value is none of them.
    """
    place = {name: number for number, name in enumerate(classes)}
    try:
        return np.array([place[str(value)] for value in values.tolist()], np.int64)
    except KeyError as error:
        raise InvalidData(
            f"Label {label!r} holds {error.args[0]}, which no example of the training part has: add examples of it."
        ) from None


def _columns(values: Array, head: Head) -> Array:
    return values[:, np.newaxis] if values.ndim == 1 and head.rank == 2 else values


def _examples(values: Array) -> str:
    return ", ".join(repr(value) for value in np.unique(values)[:3].tolist())


def losses(model: Any, outputs: Mapping[str, Any]) -> dict[str, str]:
    """Keras' name of the loss of each output of a compiled model; empty where it has none of Keras' own."""
    given = getattr(model, "loss", None)
    names = list(outputs)
    if isinstance(given, Mapping):
        return {name: _loss_name(given.get(name)) for name in names}
    if isinstance(given, list | tuple) and len(given) == len(names):
        return {name: _loss_name(loss) for name, loss in zip(names, given, strict=True)}
    return dict.fromkeys(names, _loss_name(given))


def _loss_name(loss: Any) -> str:
    import keras

    if loss is None:
        return ""
    try:
        found = keras.losses.get(loss)
    except (ValueError, TypeError):
        return ""
    if isinstance(found, keras.losses.Loss):
        return str(found.name) if type(found).__module__.startswith("keras.") else ""
    return str(getattr(found, "__name__", "")) if getattr(found, "__module__", "").startswith("keras.") else ""

"""Asking a model server for the classes of examples that training never saw."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tasks.records import SignatureSpec
from tasks.serving.client import Predicts, Target
from tasks.wire.dtypes import Array

_BATCH = 200  # held-out examples in one request


@dataclass(frozen=True)
class AccuracyQuestion:
    """How to ask a model for the class of an example."""

    signature: str
    input: str
    output: str
    probabilities: bool  # the output is [N, classes] floats, else [N] class numbers

    def classes(self, outputs: Mapping[str, Array]) -> Array:
        """The class numbers `[N]` in an answer: its output, or the argmax over `[N, classes]`."""
        answer = outputs[self.output]
        return answer.argmax(axis=-1) if self.probabilities else answer


def accuracy_question(
    signatures: Mapping[str, SignatureSpec], example_shape: tuple[int, ...]
) -> AccuracyQuestion | None:
    """Which signature takes one input of `[N, *example_shape]` floats and gives classes; None if none does.

    An output named `class` of whole numbers `[N]` is preferred to one of floats `[N, classes]`.
    """
    found = []
    for name, spec in sorted(signatures.items()):
        if len(spec.inputs) != 1:
            continue
        ((input_name, takes),) = spec.inputs.items()
        if takes.dtype != "float32" or takes.shape is None or tuple(takes.shape[1:]) != example_shape:
            continue
        for output_name, gives in sorted(spec.outputs.items()):
            rank = None if gives.shape is None else len(gives.shape)
            if output_name == "class" and gives.dtype.startswith("int") and rank == 1:
                found.append((0, AccuracyQuestion(name, input_name, output_name, probabilities=False)))
            elif gives.dtype.startswith("float") and rank == 2:
                found.append((1, AccuracyQuestion(name, input_name, output_name, probabilities=True)))
    return min(found, key=lambda f: f[0])[1] if found else None


def held_out_classes(
    server: Predicts, target: Target, question: AccuracyQuestion, x: Array
) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The class int64 `[N]` that the model server answers for each example of `x`, float32 `[N, …]`.

    Raises:
        ServingError, DeadlineExceeded: the server did not answer, or refused.
    """
    found = [
        question.classes(server.predict_grpc(target, question.signature, {question.input: part}).outputs)
        for part in batches(x)
    ]
    return np.concatenate(found).astype(np.int64)


def batches(x: Array) -> list[Array]:
    """`x` `[N, …]` in parts `[n, …]` with n up to 200, each small enough for one request."""
    return [x[start : start + _BATCH] for start in range(0, len(x), _BATCH)]

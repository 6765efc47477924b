"""Asking a model for what its version is scored by: a model server that serves it, or its SavedModel's folder."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from tasks.data.checks import classes_of
from tasks.data.examples import Examples
from tasks.errors import NotServable
from tasks.evaluation.fitting import inputs_of, spread, taken
from tasks.records import Manifest, Scored, ScoredOutput, SignatureSpec, TensorSpec
from tasks.savedmodel import session
from tasks.savedmodel.messages import Failure
from tasks.serving.client import Predicts, Target
from tasks.wire.dtypes import Array

_ROWS, _BYTES = 200, 8_000_000  # in one request, at most
_SAMPLE = 20  # rows that tell how large one is
_LOADING, _ANSWER = 120.0, 10.0  # longest time for loading a SavedModel, and for each of its answers, seconds
# What releases before recipes knew.
_FEATURE, _IMAGE, _LABEL, _DIGITS = "x", (28, 28, 1), "y", tuple(map(str, range(10)))
_USUAL = ("serving_default", "call")  # the signature that is taken of several that answer alike


def answers(
    server: Predicts,
    target: Target,
    scored: Scored,
    signatures: Mapping[str, SignatureSpec],
    features: Mapping[str, Array],
) -> dict[str, Array]:
    """What a model server answers to all rows of `features`, over gRPC: `[N, …]` by label.

    Raises:
        ServingError, DeadlineExceeded: it did not answer, or refused.
        InvalidData: the features do not fit the signature's inputs.
        NotServable: an output is missing, or gives no answer for each row.
    """
    parts, outputs = _Parts(scored, signatures, features), [output.output for output in scored.outputs.values()]
    return parts.joined([server.predict_grpc(target, scored.signature, part, outputs).outputs for part in parts])


def answers_of_folder(
    directory: Path, scored: Scored, signatures: Mapping[str, SignatureSpec], features: Mapping[str, Array]
) -> dict[str, Array]:
    """What the SavedModel in `directory` answers to all rows of `features`: `[N, …]` by label.

    Raises:
        InvalidData: the features do not fit the signature's inputs.
        NotServable: it cannot be loaded, fails on a row, or gives no answer for each.
        DeadlineExceeded: it took too long.
    """
    parts = _Parts(scored, signatures, features)
    found = []
    asked = (session.Question(scored.signature, part) for part in parts)
    for answer in session.ask(directory, asked, _LOADING + _ANSWER * len(parts)):
        if isinstance(answer, Failure):
            raise NotServable(
                f"Signature {scored.signature!r} fails on held-out examples: {answer.message}. Nothing was published."
            )
        found.append(answer)
    return parts.joined(found)


class _Parts:
    """Rows in parts that fit into a request each, as the scored signature's inputs; of its fixed size if it has one.

    Each is made when it is asked for: all at once may be larger than memory.
    """

    def __init__(self, scored: Scored, signatures: Mapping[str, SignatureSpec], features: Mapping[str, Array]) -> None:
        self._scored, self._signature, self._features = scored, signatures[scored.signature], features
        self._rows = len(next(iter(features.values())))
        fixed = {spec.shape[0] for spec in self._signature.inputs.values() if spec.shape}
        self._fixed = next(iter(fixed - {None}), None)
        some = spread(self._rows, _SAMPLE)
        row_bytes = sum(map(_size, self._inputs(some).values())) / max(len(some), 1)
        self._size = self._fixed or max(1, min(_ROWS, int(_BYTES // max(row_bytes, 1))))

    def _inputs(self, rows: Array) -> dict[str, Array]:
        pairs = self._scored.inputs
        some = {name: array[rows] for name, array in self._features.items() if name in pairs.values()}
        return inputs_of(some, pairs, self._signature)

    def __len__(self) -> int:
        return math.ceil(self._rows / self._size)

    def __iter__(self) -> Iterator[dict[str, Array]]:
        for start in range(0, self._rows, self._size):
            rows = np.arange(start, start + self._size)
            # A part of a fixed size is filled up with its last row, whose further answers `joined` leaves out.
            rows = np.minimum(rows, self._rows - 1) if self._fixed else rows[rows < self._rows]
            yield self._inputs(rows)

    def joined(self, outputs: list[Mapping[str, Array]]) -> dict[str, Array]:
        found = {}
        for label, scored in self._scored.outputs.items():
            parts = [answer[scored.output] for answer in outputs if scored.output in answer]
            if len(parts) < len(outputs) or any(not part.ndim for part in parts):
                raise NotServable(
                    f"Signature {self._scored.signature!r} gives no output {scored.output!r} for each row, by which "
                    f"{label!r} is scored."
                )
            found[label] = np.concatenate(parts)[: self._rows]
        return found


def _size(array: Array) -> int:
    return sum(len(value) for value in array.ravel()) if array.dtype == object else array.nbytes


def scored_of_digits(signatures: Mapping[str, SignatureSpec], features: Mapping[str, Array]) -> Scored | None:
    """What a version of a release before recipes is scored by: the class of a digit; None if nothing gives it.

    An output named `class` of whole numbers `[N]` is preferred to one of floats `[N, 10]`.
    """
    x = features.get(_FEATURE)
    if x is None or len(features) > 1 or x.dtype != np.float32 or x.shape[1:] != _IMAGE:
        return None
    found = []
    for name, spec in signatures.items():
        inputs = taken(features, spec)
        if inputs is None:
            continue
        for output, gives in spec.outputs.items():
            number = output == "class" and gives.dtype.startswith("int") and _columns(gives) == 1
            if number or (gives.dtype.startswith("float") and _columns(gives) == len(_DIGITS)):
                outputs = {_LABEL: ScoredOutput(output, "classes", _DIGITS)}
                found.append((not number, _rank(name), Scored(name, inputs, outputs)))
    return min(found, key=lambda one: one[:2])[2] if found else None


def scored_of(version: Manifest, features: Mapping[str, Array]) -> Scored | None:
    """What a version records that it is scored by: when it was trained, or by the gate if it was made elsewhere."""
    at_gate = version.gate.scored if version.gate is not None else None
    return version.training.scored or at_gate or scored_of_digits(version.signatures, features)


def scored_like(live: Scored, signatures: Mapping[str, SignatureSpec], features: Mapping[str, Array]) -> Scored | str:
    """What a SavedModel that was made elsewhere is scored by, beside a version that is scored by `live`.

    That is `live` itself if its signature and outputs are there, else the only ones that can be, or the only ones of
    `serving_default`.

    Returns:
        Why there are none, if so.
    """
    fit = [
        Scored(name, inputs, outputs)
        for name, spec in signatures.items()
        if (inputs := taken(features, spec)) is not None
        for outputs in _outputs_like(live, spec, same=name == live.signature)
    ]
    same = [one for one in fit if (one.signature, one.outputs) == (live.signature, live.outputs)]
    for found in (same, fit, [one for one in fit if one.signature == _USUAL[0]]):
        if len(found) == 1:
            return found[0]
    if fit:
        several = ", ".join(sorted({f"{o.output!r} of {s.signature!r}" for s in fit for o in s.outputs.values()}))
        return f"several outputs could be what it is scored by ({several}), and none is called as the live version's"
    return f"no signature takes {', '.join(sorted(features))} and gives what {', '.join(live.outputs)} could be"


def scored_by_labels(rows: Examples, signatures: Mapping[str, SignatureSpec]) -> Scored | str:
    """What a SavedModel that was made elsewhere is scored by, told by the labels that it should answer.

    Args:
        rows: of the training part, so that all classes are there.

    Returns:
        Why there is nothing, if so.
    """
    outputs = {label: _output_of(values) for label, values in rows.labels.items()}
    found = scored_like(Scored(_USUAL[0], {}, outputs), signatures, rows.features)
    if not isinstance(found, str):
        return found
    two = {
        label: replace(output, kind="binary") if len(output.classes) == 2 else output
        for label, output in outputs.items()
    }
    by_two = scored_like(Scored(_USUAL[0], {}, two), signatures, rows.features) if two != outputs else found
    return found if isinstance(by_two, str) else by_two


def _output_of(label: Array) -> ScoredOutput:
    """What could answer a label, but for the output's name."""
    if label.ndim == 2 and label.shape[1] > 1:
        return ScoredOutput("", "flags" if label.dtype.kind in "iub" else "numbers")
    classes = classes_of(label)
    return ScoredOutput("", "numbers") if classes is None else ScoredOutput("", "classes", tuple(map(str, classes[0])))


def _outputs_like(live: Scored, spec: SignatureSpec, same: bool) -> list[dict[str, ScoredOutput]]:
    """Each way in which the outputs of a signature can answer for the labels of `live`."""
    named = {
        label: output
        for label, output in live.outputs.items()
        if output.output in spec.outputs and _could_be(output, spec.outputs[output.output])
    }
    if len(named) == len(live.outputs) and (same or len(named) > 1):
        return [named]
    if len(live.outputs) > 1:
        return []
    ((label, output),) = live.outputs.items()
    return [
        {label: ScoredOutput(name, output.kind, output.classes)}
        for name, gives in spec.outputs.items()
        if _could_be(output, gives)
    ]


def _could_be(scored: ScoredOutput, gives: TensorSpec) -> bool:
    columns, floats = _columns(gives), gives.dtype.startswith(("float", "half", "bfloat"))
    if scored.kind == "classes" and gives.dtype.startswith(("int", "uint")):
        return gives.shape is not None and len(gives.shape) == 1
    if not floats or columns is None:
        return False
    if scored.kind == "binary":
        return columns == 1
    return columns == len(scored.classes) if scored.classes else columns > 1 or scored.kind == "numbers"


def _columns(spec: TensorSpec) -> int | None:
    """Values for each row: of `[N]` and `[N, 1]` one; None if that is not known."""
    if spec.shape is None or len(spec.shape) not in (1, 2):
        return None
    return 1 if len(spec.shape) == 1 else spec.shape[1]


def _rank(signature: str) -> tuple[int, str]:
    return (_USUAL.index(signature) if signature in _USUAL else len(_USUAL), signature)

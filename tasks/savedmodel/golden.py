"""Golden examples: inputs of each signature with the trained model's own answers."""

import base64
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from tasks.errors import Corrupt, InvalidInput, NotServable
from tasks.files import write_atomically
from tasks.records import SignatureSpec
from tasks.savedmodel.read import SavedModelFolder
from tasks.wire import WireError, raised_as
from tasks.wire.dtypes import Array
from tasks.wire.protos import (
    ModelSpec,
    PredictionLog,
    PredictLog,
    PredictRequest,
    PredictResponse,
)
from tasks.wire.tensors import from_proto, to_proto
from tasks.wire.tfrecord import RecordError, read_records, to_bytes


@dataclass(frozen=True, eq=False)
class GoldenExample:
    """Inputs and expected outputs of one signature, by name, in any shape; strings are object arrays of bytes."""

    signature: str
    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]


def write_golden(path: Path, examples: Iterable[GoldenExample]) -> None:
    """Write `examples` to `path`: a TFRecord file of `PredictionLog`, the form of TensorFlow Serving's request log."""
    write_atomically(path, to_bytes(prediction_log(e.signature, e.inputs, e.outputs) for e in examples))


def read_golden(path: Path) -> list[GoldenExample]:
    """The golden examples at `path`.

    Raises:
        Corrupt: they are cut off, or something else.
    """
    return [_example(record, path) for record in records_of(path)]


def records_of(path: Path) -> Iterator[bytes]:
    """The records of the TFRecord file at `path`.

    Raises:
        Corrupt: it is cut off or damaged, or not a TFRecord file.
    """
    try:
        with path.open("rb") as file:
            yield from read_records(file)
    except RecordError as error:
        if error.truncated:
            raise Corrupt(
                f"{path} is cut off: the record at byte {error.offset} is not whole. Fetch or write it again."
            ) from None
        raise Corrupt(
            f"{path} is not a TFRecord file, or was changed: the record at byte {error.offset} fails its checksum."
        ) from None


@raised_as(InvalidInput)
def prediction_log(signature: str, inputs: Mapping[str, Array], outputs: Mapping[str, Array] | None = None) -> bytes:
    """A serialised `PredictionLog` of a request and, if given, its answer; equal bytes for equal values."""
    spec = ModelSpec(signature_name=signature)
    request = PredictRequest(model_spec=spec, inputs={name: to_proto(array) for name, array in inputs.items()})
    log = PredictLog(request=request)
    if outputs is not None:
        answers = {name: to_proto(array) for name, array in outputs.items()}
        log.response.CopyFrom(PredictResponse(model_spec=spec, outputs=answers))
    return bytes(PredictionLog(predict_log=log).SerializeToString(deterministic=True))


def _example(record: bytes, path: Path) -> GoldenExample:
    try:
        log = PredictionLog.FromString(record).predict_log
        return GoldenExample(
            signature=log.request.model_spec.signature_name,
            inputs={name: from_proto(tensor) for name, tensor in log.request.inputs.items()},
            outputs={name: from_proto(tensor) for name, tensor in log.response.outputs.items()},
        )
    except (DecodeError, WireError) as error:
        raise Corrupt(f"{path} holds no golden examples: {error}") from None


def compare(
    expected: Mapping[str, Array],
    got: Mapping[str, Array],
    tolerance: float = 1e-5,
    shape_only: Collection[str] = (),
) -> list[str]:
    """How the outputs in `got` differ from those expected, a sentence for each; empty if none does.

    Floats may differ by `tolerance` plus `tolerance` times the expected value (by two steps of their dtype if that is
    coarser, as in half precision); NaN equals NaN. Everything else must be equal, shapes and dtypes included.

    Args:
        expected: outputs by name, arrays of any shape and dtype; strings as object arrays of bytes or str.
        got: outputs by name, each to be compared with the expected one of the same name, shape and dtype.
        tolerance: of floats, absolute and relative.
        shape_only: outputs whose values may differ, since they are drawn at random.
    """
    differences = [
        f"output {name!r} is missing, there is only {_name_list(got)}" for name in expected if name not in got
    ]
    differences += [
        f"output {name!r} was not expected, only {_name_list(expected)}" for name in got if name not in expected
    ]
    for name in sorted(expected.keys() & got.keys()):
        difference = _difference(np.asarray(expected[name]), np.asarray(got[name]), tolerance, name in shape_only)
        if difference:
            differences.append(f"output {name!r} {difference}")
    return differences


def json_size(array: Array) -> int:
    """About how many bytes `array` takes in a REST body, judging numbers by the first 256."""
    if array.dtype == object:
        return sum(len(base64.b64encode(text)) + len('{"b64": ""}, ') for text in array.flat)
    if array.dtype.kind not in "biuf" or not array.size:
        return array.nbytes  # it goes over gRPC alone
    sample = array.reshape(-1)[:256].tolist()
    return len(json.dumps(sample)) * array.size // len(sample)


def without_answer(inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> str | None:
    """Which output holds NaN though no input does, or None: as NaN equals NaN, such an answer proves nothing."""
    if any(_holds_nan(array) for array in inputs.values()):
        return None
    return next((f"output {name!r} holds NaN" for name in sorted(outputs) if _holds_nan(outputs[name])), None)


def _holds_nan(array: Array) -> bool:
    values = np.asarray(array)
    return _is_float(values.dtype) and bool(np.isnan(values).any())


def _is_float(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "fc" or "float" in dtype.name  # bfloat16 and similar dtypes are of kind V


def _name_list(outputs: Mapping[str, Array]) -> str:
    return ", ".join(repr(name) for name in sorted(outputs)) or "none at all"


def _difference(expected: Array, got: Array, tolerance: float, shape_only: bool) -> str | None:
    expected, got = _comparable(expected), _comparable(got)
    if expected.dtype != got.dtype:
        return f"has dtype {_dtype(got)}, expected {_dtype(expected)}"
    if expected.shape != got.shape:
        return f"has shape {list(got.shape)}, expected {list(expected.shape)}"
    if shape_only:
        return None
    if _is_float(expected.dtype):
        return _distance(expected, got, tolerance)
    wrong = np.argwhere(np.asarray(expected != got))
    if not len(wrong):
        return None
    first = tuple(int(i) for i in wrong[0])
    return (
        f"differs in {len(wrong)} of {expected.size} values, first at {list(first)}: "
        f"{_value_text(got[first])}, expected {_value_text(expected[first])}"
    )


def _distance(expected: Array, got: Array, tolerance: float) -> str | None:
    wide = np.complex128 if expected.dtype.kind == "c" else np.float64
    allowed = max(tolerance, 2 * _epsilon(expected.dtype))
    want, have = expected.astype(wide), got.astype(wide)
    with np.errstate(invalid="ignore"):
        distance = np.abs(want - have)
    same = (want == have) | (np.isnan(want) & np.isnan(have))
    distance = np.where(same, 0.0, np.nan_to_num(distance, nan=np.inf))
    finite = np.where(np.isfinite(want), np.abs(want), 0.0)
    wrong = distance > allowed + allowed * finite
    if not wrong.any():
        return None
    worst = tuple(int(i) for i in np.unravel_index(int(np.where(wrong, distance, -1).argmax()), distance.shape))
    return (
        f"differs in {int(wrong.sum())} of {wrong.size} values by more than {allowed:.2g}, most at {list(worst)}: "
        f"{have[worst]:.7g}, expected {want[worst]:.7g} ({distance[worst]:.2g} away)"
    )


def _epsilon(dtype: np.dtype[Any]) -> float:
    """Distance from 1 to the next number of a float dtype."""
    import ml_dtypes

    return float(ml_dtypes.finfo(dtype).eps)  # type: ignore[no-untyped-call]


def _comparable(array: Array) -> Array:
    """Strings of every kind as object arrays of bytes; all else unchanged."""
    if array.dtype.kind not in "OSUT":
        return array
    result = np.empty(array.shape, object)
    for index, item in np.ndenumerate(array):
        result[index] = item.encode() if isinstance(item, str) else item
    return result


def _dtype(array: Array) -> str:
    return "string" if array.dtype.kind == "O" else str(array.dtype)


def _value_text(value: Any) -> str:
    text = repr(value) if isinstance(value, bytes) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def require_golden(model: SavedModelFolder, golden: Sequence[GoldenExample]) -> dict[str, SignatureSpec]:
    """Raise unless `golden` can prove every signature of the SavedModel; returns its signatures.

    Raises:
        InvalidSavedModel: it is not whole.
        NotServable: a signature has no golden example, or an example does not fit its signature, or holds NaN.
    """
    signatures, directory = model.require_servable(), model.directory
    unasked = sorted(signatures.keys() - {example.signature for example in golden})
    if unasked:
        raise NotServable(
            f"{directory}: nothing proves that signature {unasked[0]!r} can be served, since it has no golden example: "
            "make one for each signature."
        )
    for example in golden:
        _require_asked_rightly(directory, example, signatures)
        nothing = without_answer(example.inputs, example.outputs)
        if nothing is not None:
            raise NotServable(
                f"{directory}: signature {example.signature!r} has no answer to its golden example: {nothing}. Its "
                "weights hold NaN, or it divides by zero: train it again, or give inputs that it can answer (--inputs)."
            )
    return signatures


def _require_asked_rightly(directory: Path, example: GoldenExample, signatures: dict[str, SignatureSpec]) -> None:
    spec = signatures.get(example.signature)
    if spec is None:
        raise NotServable(
            f"{directory} has no signature {example.signature!r}, which its golden examples ask, only "
            f"{', '.join(map(repr, signatures))}."
        )
    if example.inputs.keys() != spec.inputs.keys():
        raise NotServable(
            f"{directory}: signature {example.signature!r} takes {', '.join(map(repr, spec.inputs))}, but its golden "
            f"example gives {', '.join(map(repr, sorted(example.inputs)))}."
        )

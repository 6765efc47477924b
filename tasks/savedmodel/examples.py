"""Golden examples of a SavedModel made elsewhere: asked on inputs from a file, or made up from its signatures."""

import base64
import binascii
import json
import logging
import math
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tasks.data.npz import read_arrays
from tasks.errors import InvalidData, InvalidInput, NotServable
from tasks.records import SignatureSpec, TensorSpec
from tasks.savedmodel.golden import GoldenExample, json_size, without_answer
from tasks.savedmodel.messages import Failure, advice
from tasks.savedmodel.read import SavedModelFolder
from tasks.savedmodel.session import BYTES, Question, ask_what_fits
from tasks.wire import raised_as
from tasks.wire.dtypes import Array, data_type, numpy_dtype

log = logging.getLogger(__name__)

EXAMPLES = 16  # in one question; any more in a file are left out
_MADE_UP = 4  # examples in a made-up question
_FREE = 32  # size of a free dimension that is not the batch
_LONGEST_NUMBER = 20  # characters of a float in JSON

# The model ran and refused its inputs; any other error is the model's fault.
_BAD_INPUT = {"InvalidArgumentError", "OutOfRangeError", "ValueError", "TypeError"}
# So may this be where they were made up, such as the parts of a sparse input that do not fit each other.
_BAD_MADE_UP = _BAD_INPUT | {"InternalError"}


def golden_from_inputs(
    model: SavedModelFolder, inputs: Path | None = None, *, seed: int = 0, deadline: float = 120.0
) -> list[GoldenExample]:
    """One golden example for each signature of the SavedModel: its own answers, loaded as it will be served.

    Args:
        inputs: a file as `inputs_from_file` takes it, or None; a signature that it leaves out gets inputs made up
            from its spec.
        seed: of the made-up inputs.
        deadline: longest time for loading and answering, seconds.

    Raises:
        InvalidSavedModel, InvalidData, NotServable, DeadlineExceeded: says what is wrong with which of them.
    """
    signatures, directory = model.require_servable(), model.directory
    defaults = {name: model.defaults(name) for name in signatures}
    given = inputs_from_file(inputs, signatures, defaults) if inputs else []
    asked = {question.signature for question in given}
    made_up = [
        Question(name, {**inputs_from_spec(name, spec, seed), **defaults[name]})
        for name, spec in signatures.items()
        if name not in asked
    ]
    questions = [*given, *made_up]
    rows = {n: rows for n, q in enumerate(questions) if (rows := _rows(q.inputs, signatures[q.signature])) is not None}
    examples = []
    for question, answer in zip(questions, ask_what_fits(directory, questions, rows, deadline), strict=True):
        name = question.signature
        how = None if name in asked else _how_to_give(name, signatures[name])
        if isinstance(answer, Failure):
            raise _refused(directory, name, answer, how)
        if how is not None and (nothing := without_answer(question.inputs, answer.outputs)):
            raise NotServable(
                f"{directory}: signature {name!r} answers inputs made up from its spec so: {nothing}. Its weights hold "
                f"NaN, or such inputs, numbers from 0 to 1, are outside of its range, as a logarithm's. {how}"
            )
        shown = {n: array[: answer.rows] if answer.rows else array for n, array in question.inputs.items()}
        examples.append(GoldenExample(name, shown, answer.outputs))
    return examples


def _refused(directory: Path, signature: str, failure: Failure, how: str | None) -> InvalidData | NotServable:
    """Why a signature could not be asked; `how` says how to give other inputs than those that were made up."""
    if failure.kind not in (_BAD_INPUT if how is None else _BAD_MADE_UP):
        return NotServable(
            f"{directory}: TensorFlow Serving could not answer signature {signature!r}: {failure.message}. "
            f"{advice(failure)}"
        )
    if how is None:
        return InvalidData(f"{directory}: signature {signature!r} refuses the given inputs: {failure.message}.")
    return InvalidData(
        f"{directory}: signature {signature!r} refuses inputs made up from its spec: {failure.message}. {how}"
    )


def _how_to_give(signature: str, spec: SignatureSpec) -> str:
    """How to give inputs for a signature, with an example that only lacks the values."""
    arrays = "an .npz with " + ", ".join(f"{signature}/{name}" for name in spec.inputs)
    if any(not data_type(tensor.dtype).in_json for tensor in spec.inputs.values()):
        return f"Give real ones (--inputs FILE: {arrays})."
    blank = {"string": '[{"b64": "…"}]'}  # any other: "[…]"
    values = ", ".join(f'"{name}": {blank.get(tensor.dtype, "[…]")}' for name, tensor in spec.inputs.items())
    request = f'{{"signature_name": "{signature}", "inputs": {{{values}}}}}'
    return f"Give real ones (--inputs FILE: a .json such as {request}, or {arrays})."


def golden_rows(arrays: Mapping[str, Array]) -> int:
    """How many rows a golden example of these may have: at most 16, and about 4 MB as a REST body, but at least one.

    Args:
        arrays: an example's inputs, its outputs, or both; each `[rows, …]` with equally many rows, of any dtype.
    """
    rows = min(EXAMPLES, *(len(array) for array in arrays.values()))
    size = sum(json_size(array[:rows]) for array in arrays.values())
    return max(1, min(rows, BYTES * rows // max(1, size)))


def _rows(inputs: Mapping[str, Array], spec: SignatureSpec) -> int | None:
    """How many rows these inputs have; None if they are not rows, as parts of a sparse input are not."""
    free = all(tensor.shape is None or tensor.shape[:1] == (None,) for tensor in spec.inputs.values())
    lengths = {len(array) if array.ndim else None for array in inputs.values()}
    return lengths.pop() if free and len(lengths) == 1 else None


@raised_as(InvalidInput)
def inputs_from_spec(signature: str, spec: SignatureSpec, seed: int = 0) -> dict[str, Array]:
    """Inputs by name that fit `spec`, the same for the same seed: floats in 0..1, integers in 0..9, short strings.

    The first dimension, if free, is the batch (4 examples, or fewer large ones); other free dimensions have size 32.

    Raises:
        InvalidInput: an input of a dtype that cannot be sent.
    """
    random = np.random.default_rng([seed, zlib.crc32(signature.encode())])
    row = sum(math.prod(_FREE if size is None else size for size in (t.shape or ())[1:]) for t in spec.inputs.values())
    batch = max(1, min(_MADE_UP, BYTES // max(1, _LONGEST_NUMBER * row)))
    return {name: _made_up(tensor, batch, random) for name, tensor in sorted(spec.inputs.items())}


def _made_up(tensor: TensorSpec, batch: int, random: np.random.Generator) -> Array:
    dims = (None,) if tensor.shape is None else tensor.shape
    shape = tuple((_FREE if n else batch) if size is None else size for n, size in enumerate(dims))
    dtype = numpy_dtype(tensor.dtype)
    if dtype.kind == "O":
        texts = np.empty(shape, object)
        for index in np.ndindex(shape):
            texts[index] = b"example %d" % random.integers(100)
        return texts
    if dtype.kind == "b":
        return random.integers(2, size=shape).astype(dtype)
    if "int" in dtype.name:
        return random.integers(10 if dtype.kind in "iu" else 2, size=shape).astype(dtype)
    return random.random(shape).astype(dtype)


def inputs_from_file(
    path: Path, signatures: Mapping[str, SignatureSpec], defaults: Mapping[str, Mapping[str, Array]] | None = None
) -> list[Question]:
    """The questions in a user's file, checked against the signatures; of many examples the first that fit.

    Args:
        path: `.json`: one predict request as TensorFlow Serving's REST API takes it (`signature_name`, and `instances`
            or `inputs`), or a list of them. `.npz`: arrays named `SIGNATURE/INPUT`, or `INPUT` alone for every
            signature that takes just these inputs.
        defaults: by signature and input, what is asked where the file leaves an input out.

    Raises:
        InvalidData: no such file, unreadable, or inputs that do not fit their signature.
    """
    if not path.is_file():
        raise InvalidData(f"No inputs at {str(path)!r}: give an existing .json or .npz file.")
    if path.suffix == ".json":
        raw = _read_json(path, signatures)
    elif path.suffix == ".npz":
        raw = _read_npz(path, signatures)
    else:
        raise InvalidData(f"Inputs in {str(path)!r} cannot be read: give a .json of predict requests, or an .npz.")
    questions = []
    for name, values in raw:
        whole = {**(defaults or {}).get(name, {}), **values}
        questions.append(Question(name, _fitting(whole, signatures[name], f"{path}, signature {name!r}")))
    return questions


def _read_npz(path: Path, signatures: Mapping[str, SignatureSpec]) -> list[tuple[str, dict[str, Array]]]:
    arrays = read_arrays(path)
    whole: dict[str, dict[str, Array]] = {}
    for key, array in arrays.items():
        signature, _, name = key.rpartition("/")
        whole.setdefault(signature, {})[name] = array
    bare = whole.pop("", {})
    for name in whole:
        _require_signature(name, signatures, path)
    found = sorted(whole.items())
    if bare:
        takers = [n for n, spec in signatures.items() if n not in whole and spec.inputs.keys() == bare.keys()]
        if not takers:
            wanted = "; ".join(f"{n!r} takes {', '.join(spec.inputs)}" for n, spec in signatures.items())
            raise InvalidData(f"{path}: no signature takes just the inputs {', '.join(sorted(bare))}: {wanted}.")
        found += [(name, bare) for name in takers]
    return found


def _read_json(path: Path, signatures: Mapping[str, SignatureSpec]) -> list[tuple[str, dict[str, Any]]]:
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise InvalidData(f"{path} is not JSON ({error}): write predict requests as the REST API takes them.") from None
    return [_question(body, signatures, path) for body in (content if isinstance(content, list) else [content])]


def _question(body: Any, signatures: Mapping[str, SignatureSpec], path: Path) -> tuple[str, dict[str, Any]]:
    if not isinstance(body, dict) or ("instances" in body) == ("inputs" in body):
        raise InvalidData(
            f"{path}: expected predict requests, each an object with either 'instances' or 'inputs', such as "
            '{"signature_name": "call", "instances": [...]}.'
        )
    signature = body.get("signature_name", "serving_default")
    _require_signature(signature, signatures, path)
    names = list(signatures[signature].inputs)
    if "inputs" in body:
        columns = body["inputs"]
        return signature, columns if _is_named(columns) else dict.fromkeys(names[:1], columns)
    rows = body["instances"]
    if not isinstance(rows, list) or not rows:
        raise InvalidData(f"{path}: 'instances' of signature {signature!r} must be a list of at least one example.")
    if not _is_named(rows[0]):
        return signature, dict.fromkeys(names[:1], rows)
    if not all(_is_named(row) and row.keys() == rows[0].keys() for row in rows):
        raise InvalidData(f"{path}: the instances of signature {signature!r} do not all name the same inputs.")
    return signature, {name: [row[name] for row in rows] for name in rows[0]}


def _is_named(value: Any) -> bool:
    """Whether these are inputs by name, and not one value or `{"b64": …}`."""
    return isinstance(value, dict) and value.keys() != {"b64"}


def _require_signature(name: Any, signatures: Mapping[str, SignatureSpec], path: Path) -> None:
    if name not in signatures:
        raise InvalidData(f"{path} asks signature {name!r}, but there is only {', '.join(map(repr, signatures))}.")


def _fitting(values: Mapping[str, Any], spec: SignatureSpec, where: str) -> dict[str, Array]:
    """`values` as arrays of the spec's dtypes, cut to the first examples."""
    if values.keys() != spec.inputs.keys():
        raise InvalidData(
            f"{where}: expected the inputs {', '.join(spec.inputs)}, found {', '.join(sorted(values)) or 'none'}."
        )
    arrays = {n: _array(values[n], spec.inputs[n], f"{where}, input {n!r}") for n in sorted(values)}
    rows = _rows(arrays, spec)
    if rows is not None and rows > (most := golden_rows(arrays)):
        log.info("%s: the first %d of %d examples are used", where, most, rows)
        arrays = {name: array[:most] for name, array in arrays.items()}
    return arrays


@raised_as(InvalidInput)
def _array(value: Any, spec: TensorSpec, where: str) -> Array:
    dtype = numpy_dtype(spec.dtype)
    try:
        array = np.asarray(_decoded(value), object if dtype.kind == "O" else None)
    except (ValueError, binascii.Error) as error:
        raise InvalidData(f"{where}: {error}") from None
    if dtype.kind == "O":
        array = _as_bytes(array, where)
    elif array.dtype.kind not in _kinds(dtype):
        raise InvalidData(f"{where}: found {array.dtype} values, expected {spec.dtype}.")
    elif (array.astype(dtype).astype(array.dtype) != array).any() and "int" in dtype.name:
        raise InvalidData(f"{where}: found whole numbers that {spec.dtype} cannot hold.")
    if not _fits(array.shape, spec.shape):
        wanted = "any" if spec.shape is None else [size if size is not None else "any" for size in spec.shape]
        raise InvalidData(f"{where}: found shape {list(array.shape)}, expected {wanted}.")
    return array.astype(dtype)


def _kinds(dtype: np.dtype[Any]) -> str:
    """Kinds of array that can be converted to `dtype` without changing what they mean."""
    if dtype.kind == "b":
        return "b"
    if "int" in dtype.name:
        return "iu"
    return "iufc" if dtype.kind == "c" else "iuf"


def _fits(shape: tuple[int, ...], wanted: Sequence[int | None] | None) -> bool:
    if not wanted:  # unknown, or [], which some exporters record for what they do not know: the model will say
        return True
    return len(shape) == len(wanted) and all(w in (None, s) for s, w in zip(shape, wanted, strict=True))


def _decoded(value: Any) -> Any:
    """JSON with each `{"b64": …}` decoded to bytes."""
    if isinstance(value, list):
        return [_decoded(item) for item in value]
    if isinstance(value, dict):
        if value.keys() != {"b64"} or not isinstance(value["b64"], str):
            raise ValueError("expected numbers, strings or {'b64': …}, found an object")
        return base64.b64decode(value["b64"], validate=True)
    return value


def _as_bytes(array: Array, where: str) -> Array:
    result = np.empty(array.shape, object)
    for index, item in np.ndenumerate(array):
        if not isinstance(item, str | bytes):
            raise InvalidData(f"{where}: found {item!r}, expected strings or {{'b64': …}}.")
        result[index] = item.encode() if isinstance(item, str) else item
    return result

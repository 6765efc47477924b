"""Replies as TensorFlow Serving writes them: tensors, results, errors, status and metadata as JSON.

White space and number formats are its own (json_tensor.cc over RapidJSON's PrettyWriter; protobuf's json_util).
Everything here is bytes: strings in a reply are the bytes that the model gave, UTF-8 or not.
"""

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import prod
from typing import Final

import numpy as np
import orjson
from google.protobuf import json_format
from google.protobuf.message import Message

from infra.modelserver.errors import StatusError, invalid_argument
from infra.modelserver.inference.describe import status_message
from infra.modelserver.lifecycle.states import VersionStatus
from infra.modelserver.rest.json_text import decimal, string, to_bytes
from infra.modelserver.rest.tensors import INT_RANGES, dtype_name
from infra.modelserver.runtime.servable import Servable, Signature
from tasks.wire.dtypes import Array, DataType
from tasks.wire.protos import ClassificationResult, ModelSpec, RegressionResult

_ONE_LINE: Final = b", "
_AS_IS: Final = frozenset((*INT_RANGES, DataType.BOOL))  # printed as they are
_LARGE: Final = 1 << 14  # elements
_PIECE: Final = 1 << 16  # elements that are written before another thread may run
_DIGITS: Final[dict[int, tuple[int, bool]]] = {DataType.FLOAT: (9, True), DataType.DOUBLE: (17, False)}


def predictions(signature: Signature, outputs: Mapping[str, Array], *, row_format: bool) -> bytes:
    """The reply to a predict request: `predictions` in row format, `outputs` otherwise.

    Args:
        outputs: an array for each alias; in row format all have shape (rows, …).

    Raises:
        StatusError: there are no outputs, their rows differ in number, or JSON has no form for a type.
    """
    if not outputs:
        raise invalid_argument("Cannot convert empty tensor map to JSON")
    return _rows(signature, outputs) if row_format else _columns(signature, outputs)


def classifications(result: ClassificationResult) -> bytes:
    """The reply to a classify request: [label, score] pairs for each example.

    Raises:
        StatusError: INVALID_ARGUMENT; there are no results.
    """
    if not result.classifications:
        raise invalid_argument("Cannot convert empty ClassificationResults to JSON")
    examples = [
        "[" + ", ".join([f"[{string(c.label)}, {decimal(c.score, single=True)}]" for c in one.classes]) + "]"
        for one in result.classifications
    ]
    return to_bytes(f'{{\n    "results": [{", ".join(examples)}\n    ]\n}}')


def regressions(result: RegressionResult) -> bytes:
    """The reply to a regress request: a value for each example.

    Raises:
        StatusError: INVALID_ARGUMENT; there are no results.
    """
    if not result.regressions:
        raise invalid_argument("Cannot convert empty RegressionResults to JSON")
    values = ", ".join([decimal(one.value, single=True) for one in result.regressions])
    return f'{{\n    "results": [{values}]\n}}'.encode()


def error(problem: StatusError) -> bytes:
    """The body of an error reply."""
    return to_bytes(f'{{\n    "error": {string(problem.message)}\n}}')


def status(versions: Iterable[VersionStatus]) -> bytes:
    """The reply to a status request."""
    return _message(status_message(versions)).encode()


def metadata(servable: Servable) -> bytes:
    """The reply to a metadata request."""
    spec = ModelSpec(name=servable.name)
    spec.version.value = servable.version
    signatures = _message(servable.signature_map_proto)
    return f'{{\n"model_spec":{_message(spec)},\n"metadata": {{"signature_def": {signatures}}}\n}}\n'.encode()


def _message(proto: Message) -> str:
    return json_format.MessageToJson(
        proto, indent=1, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


# Tensors


def _rows(signature: Signature, outputs: Mapping[str, Array]) -> bytes:
    batch = _batch_size(outputs)
    depth = 3 if len(outputs) > 1 else 2
    columns: list[Sequence[bytes]] = []
    for alias, array in outputs.items():
        if not _is_large(alias, array, signature):
            tokens = _tokens(alias, array, signature, depth + array.ndim - 1)
            columns.append(_nested(tokens, array.shape, depth, one_line=True))
        elif len(outputs) == 1:
            columns.append(list(_pieces(array)))
        elif array.ndim == 1:
            columns.append([word for piece in _pieces(array) for word in piece.split(_ONE_LINE)])
        else:
            columns.append([_one_line(row) for row in array])
    if not batch:
        return b'{\n    "predictions": []\n}'
    if len(outputs) == 1:
        return _joined(b'{\n    "predictions": [', columns[0], b"\n    ]\n}")
    keys = [_key(alias) for alias in outputs]
    rows = []
    for values in zip(*columns, strict=True):
        members = b",\n".join([b"            " + key + value for key, value in zip(keys, values, strict=True)])
        rows.append(b"        {\n" + members + b"\n        }")
    return b'{\n    "predictions": [\n' + b",\n".join(rows) + b"\n    ]\n}"


def _batch_size(outputs: Mapping[str, Array]) -> int:
    batch = None
    for alias, array in outputs.items():
        if not array.ndim:
            raise invalid_argument(f"Tensor name: {alias} has no shape information ")
        if batch is not None and batch != array.shape[0]:
            raise invalid_argument(
                f"Tensor name: {alias} has inconsistent batch size: {array.shape[0]} expecting: {batch}"
            )
        batch = array.shape[0]
    return batch or 0


def _columns(signature: Signature, outputs: Mapping[str, Array]) -> bytes:
    depth = 1 if len(outputs) == 1 else 2
    if len(outputs) == 1:
        alias, array = next(iter(outputs.items()))
        if _is_large(alias, array, signature):
            return _joined(b'{\n    "outputs": [', _pieces(array), b"]\n}")
    texts = {}
    for alias, array in outputs.items():
        if _is_large(alias, array, signature):
            texts[alias] = _one_line(array)
        else:
            tokens = _tokens(alias, array, signature, depth + array.ndim)
            texts[alias] = _nested(tokens, (1, *array.shape), depth, one_line=False)[0]
    if len(texts) == 1:
        return b'{\n    "outputs": ' + next(iter(texts.values())) + b"\n}"
    members = b",\n".join([b"        " + _key(alias) + text for alias, text in texts.items()])
    return b'{\n    "outputs": {\n' + members + b"\n    }\n}"


def _key(alias: str) -> bytes:
    return to_bytes(string(alias)) + b": "


def _nested(tokens: Sequence[bytes], shape: Sequence[int], depth: int, *, one_line: bool) -> Sequence[bytes]:
    """The text of each entry along the first dimension; depth is how deeply that entry is nested in the document."""
    for axis in range(len(shape) - 1, 0, -1):
        count, size = prod(shape[:axis]), shape[axis]
        if not size:
            tokens = [b"[]"] * count
            continue
        if one_line:
            start, between, end = b"[", _ONE_LINE, b"]"
        else:
            inner = b"\n" + b"    " * (depth + axis)
            start, between, end = b"[" + inner, b"," + inner, inner[:-4] + b"]"
        tokens = [
            start + between.join(tokens[at : at + size]) + end for at in range(0, count * size, size)
        ]  # fmt: skip
    return tokens


# Values


def _tokens(alias: str, array: Array, signature: Signature, depth: int) -> Sequence[bytes]:
    """Each element's text, in row-major order; depth is how deeply it is nested in the document.

    Raises:
        StatusError: UNIMPLEMENTED; JSON has no form for the type.
    """
    data_type = signature.outputs[alias].data_type
    if not array.size:
        return []
    if data_type in _DIGITS:
        return _floats(array.ravel(), *_DIGITS[data_type])
    if data_type in _AS_IS:
        return orjson.dumps(np.ascontiguousarray(array.ravel()), option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")
    if data_type == DataType.STRING:
        if alias.endswith("_bytes"):
            return [_base64(text, depth) for text in array.ravel()]
        return [_string(text) for text in array.ravel()]
    raise invalid_argument(f"Failed to write JSON value for tensor type: {dtype_name(data_type)}")


def _floats(flat: Array, digits: int, single: bool) -> Sequence[bytes]:
    """`decimal` of every element: most need all their digits and are printed at once."""
    values = flat.tolist()
    tokens = (b"%%.%dg " % digits * len(values) % tuple(values)).split()
    wide = flat.astype(np.float64, copy=False)
    with np.errstate(all="ignore"):
        scale = 10.0 ** (5 - np.floor(np.log10(np.abs(wide))))
        off = np.abs(np.rint(wide * scale) / scale - wide)
        six_digits = off <= np.abs(wide) * (6.1e-8 if single else 1e-15) + (1e-45 if single else 1e-323)
        special = six_digits | (np.rint(wide) == wide) | ~np.isfinite(wide)
    for at in np.flatnonzero(special).tolist():
        tokens[at] = decimal(values[at], single=single).encode()
    return tokens


def _is_large(alias: str, array: Array, signature: Signature) -> bool:
    """Whether an array of numbers is printed the quick way: the same numbers, in the fewest digits and on one line."""
    data_type = signature.outputs[alias].data_type
    return array.size > _LARGE and array.ndim > 0 and (data_type in _DIGITS or data_type in _AS_IS)


def _one_line(array: Array) -> bytes:
    return _joined(b"[", _pieces(array), b"]")


def _joined(start: bytes, pieces: Iterable[bytes], end: bytes) -> bytes:
    """The pieces on one line between start and end: copied once, as they may be hundreds of megabytes."""
    every = list(pieces)
    every[0] = start + every[0]
    every[-1] += end
    return _ONE_LINE.join(every)


def _pieces(array: Array) -> Iterator[bytes]:
    """The text between an array's outer brackets, piece by piece."""
    width = prod(array.shape[1:])
    if width > _PIECE:
        yield from map(_one_line, array)
        return
    rows = _PIECE // max(1, width)
    for at in range(0, len(array), rows):
        yield _in_one_go(array[at : at + rows])[1:-1]


def _in_one_go(array: Array) -> bytes:
    text = orjson.dumps(np.ascontiguousarray(array), option=orjson.OPT_SERIALIZE_NUMPY)
    if b"n" in text:  # null: a number that JSON does not have
        words = [decimal(value, single=True).encode() for value in array[~np.isfinite(array)].tolist()]
        parts = text.split(b"null")
        text = parts[0] + b"".join([word + part for word, part in zip(words, parts[1:], strict=True)])
    return text.replace(b",", _ONE_LINE)


def _string(text: bytes) -> bytes:
    return to_bytes(string(text.decode("utf-8", "surrogateescape")))


def _base64(text: bytes, depth: int) -> bytes:
    indent = b"\n" + b"    " * depth
    return b"{" + indent + b'    "b64": "' + base64.b64encode(text) + b'"' + indent + b"}"

"""From a predict request's JSON to arrays, by TensorFlow Serving's rules (json_tensor.cc).

A request holds `instances`, a row for each example, or `inputs`, a column for each input. Lists are converted as a
whole; the rules that take a step for each element are applied only to say which element is wrong, and why.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from math import prod
from typing import Any, Final

import numpy as np

from infra.modelserver.errors import Code, StatusError, invalid_argument
from infra.modelserver.rest.base64 import decode_object, is_base64
from infra.modelserver.rest.json_text import Json, members, quote, to_bytes
from infra.modelserver.rest.parser import Document
from infra.modelserver.runtime.servable import Signature, TensorInfo
from tasks.wire.dtypes import Array, DataType

FLOATS: Final[frozenset[int]] = frozenset((DataType.FLOAT, DataType.DOUBLE))
# These are read as int32 and then truncated to their width without an error.
INT32S: Final[frozenset[int]] = frozenset((DataType.INT32, DataType.INT16, DataType.INT8, DataType.UINT8))
INT_RANGES: Final = dict.fromkeys(INT32S, (-(2**31), 2**31 - 1)) | {
    DataType.INT64: (-(2**63), 2**63 - 1),
    DataType.UINT32: (0, 2**32 - 1),
    DataType.UINT64: (0, 2**64 - 1),
}
_JSON_TYPES: Final = {
    type(None): "Null", int: "Number", float: "Number", str: "String", list: "Array",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class PredictInputs:
    """A predict request's inputs: an array for each alias. row_format says whether the reply is in rows."""

    arrays: dict[str, Array]
    row_format: bool


def predict_inputs(asked: Document, signature: Signature) -> PredictInputs:
    """The inputs that a predict request's body has for a signature; their shapes are the nesting of the lists.

    Raises:
        StatusError: the body does not fit the signature.
    """
    document = asked.members()
    if not signature.inputs:
        raise invalid_argument(f"Failed to get input map for signature: {asked.signature_name() or 'DEFAULT'}")
    if "instances" in document and "inputs" in document:
        raise _format_error(
            document, "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist "
        )
    if "instances" in document:
        rows = document["instances"]
        if not isinstance(rows, list):
            raise _format_error(document, "Expecting 'instances' to be an list/array")
        if not rows:
            raise _format_error(document, "No values in 'instances' array")
        return PredictInputs(_from_rows(rows, signature.inputs), row_format=True)
    if "inputs" in document:
        return PredictInputs(_from_columns(document["inputs"], signature.inputs), row_format=False)
    raise invalid_argument("Missing 'inputs' or 'instances' key")


def _format_error(value: Json, text: str) -> StatusError:
    return invalid_argument(f"JSON Value: {quote(value)} {text}")


# Columns


def _from_columns(value: Json, inputs: Mapping[str, TensorInfo]) -> dict[str, Array]:
    if not isinstance(value, dict) or is_base64(value):
        if len(inputs) > 1:
            raise invalid_argument(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per"
                " tensorinfo_map"
            )
        return {alias: _tensor(alias, value, info) for alias, info in inputs.items()}
    arrays = {}
    for alias, info in inputs.items():
        if alias not in value:
            raise invalid_argument(f"Missing named input: {alias} in 'inputs' object.")
        arrays[alias] = _tensor(alias, value[alias], info)
    return arrays


def _tensor(alias: str, value: Json, info: TensorInfo) -> Array:
    array = _regular(alias, value, info)
    if array is None:
        filled = _Filled(info)
        filled.add(value)
        array = filled.array(alias, ())
    return array


# Rows


def _from_rows(rows: list[Json], inputs: Mapping[str, TensorInfo]) -> dict[str, Array]:
    if len(inputs) > 1 and not isinstance(rows[0], dict):
        raise invalid_argument(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per"
            " tensorinfo_map"
        )
    if not _is_named(rows[0]):
        alias, info = next(iter(inputs.items()))
        array = _regular(alias, rows, info)
        if array is not None:
            return {alias: array}
        return _Rows(inputs).read(rows, named=False)
    return _gather(rows, inputs) or _Rows(inputs).read(rows, named=True)


def _is_named(row: Json) -> bool:
    return isinstance(row, dict) and not is_base64(row)


def _gather(rows: list[Json], inputs: Mapping[str, TensorInfo]) -> dict[str, Array] | None:
    """Rows of objects as columns, if every row has every input once and all rows' shapes agree."""
    if set(map(type, rows)) != {dict} or any(row.keys() != inputs.keys() for row in rows) or any(map(is_base64, rows)):
        return None
    arrays = {}
    for alias, info in inputs.items():
        array = _regular(alias, [row[alias] for row in rows], info)
        if array is None:
            return None
        arrays[alias] = array
    return arrays


class _Rows:
    """Rows taken one by one, in the order in which TensorFlow Serving finds what is wrong with them."""

    def __init__(self, inputs: Mapping[str, TensorInfo]) -> None:
        self.inputs = inputs
        self.filled: dict[str, _Filled] = {}

    def read(self, rows: list[Json], *, named: bool) -> dict[str, Array]:
        for number, row in enumerate(rows):
            if named:
                if not _is_named(row):
                    raise invalid_argument(f"Expecting object but got list at item {number} of input list")
                self.read_named(number, row)
            else:
                if _is_named(row):
                    raise invalid_argument(f"Expecting value/list but got object at item {number} of input list")
                self.add(row, next(iter(self.inputs)), f"Failed to process element: {number}")
        return {alias: filled.array(alias, (len(rows),)) for alias, filled in self.filled.items()}

    def read_named(self, number: int, row: dict[str, Json]) -> None:
        names = set()
        for key, value in members(row):
            name = key.partition("\0")[0]  # names are C strings there
            names.add(name)
            self.add(value, name, f"Failed to process element: {number} key: {name}")
        if names != self.inputs.keys():
            raise invalid_argument(
                f"Failed to process element: {number} of 'instances' list. JSON object: {quote(row)} keys must be"
                f" equal to: {','.join(sorted(self.inputs))}"
            )

    def add(self, value: Json, alias: str, place: str) -> None:
        try:
            if alias not in self.inputs:
                raise invalid_argument(f"JSON object: does not have named input: {alias}")
            self.filled.setdefault(alias, _Filled(self.inputs[alias])).add(value)
        except StatusError as error:
            raise invalid_argument(f"{place} of 'instances' list. Error: {error}") from None


@dataclass(slots=True)
class _Filled:
    """The values of one input, collected from one value or from a value in each row."""

    info: TensorInfo
    shape: tuple[int, ...] | None = None
    size: int = 0
    values: list[Any] = field(default_factory=list)

    def add(self, value: Json) -> None:
        """Check and keep one value; every one must have the first one's shape."""
        shape = dense_shape(value)
        before = len(self.values)
        for leaf in _leaves(value, shape):
            self.values.append(_checked(leaf, self.info.data_type))
        size = len(self.values) - before
        if self.shape is None:
            self.shape, self.size = shape, size
        elif self.size != size:
            raise invalid_argument(f"Expecting tensor size: {self.size} but got: {size}")
        elif self.shape != shape:
            raise invalid_argument(f"Expecting shape {_brackets(self.shape)} but got: {_brackets(shape)}")

    def array(self, alias: str, batch: tuple[int, ...]) -> Array:
        shape = batch + (self.shape or ())
        values = self.values[: prod(shape)]  # a repeated key leaves more than the tensor takes
        array = _convert(values, self.info)
        assert array is not None
        return _reshaped(alias, array, shape)


def dense_shape(value: Json) -> tuple[int, ...]:
    """The shape judging by each list's first element; () for a value that is not a list."""
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        if not value:
            break
        value = value[0]
    return tuple(shape)


def _brackets(shape: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, shape))}]"


def _leaves(value: Json, shape: tuple[int, ...]) -> Iterator[Json]:
    """Every leaf, depth first (FillTensorProto).

    Raises:
        StatusError: INVALID_ARGUMENT; a list is not of the shape.
    """
    rank = len(shape)
    iterators = [iter((value,))]
    while iterators:
        for item in iterators[-1]:
            level = len(iterators) - 1
            if not isinstance(item, list):
                if level != rank:
                    raise invalid_argument(
                        f"JSON Value: {quote(item)} found at incorrect level: {level + 1} in the JSON DOM."
                        f" Expected at level: {rank}"
                    )
                yield item
                continue
            if level >= rank:
                raise invalid_argument(f"Encountered list at unexpected level: {level} expected < {rank}")
            if len(item) != shape[level]:
                raise invalid_argument(
                    f"Encountered list at unexpected size: {len(item)} at level: {level} expected size: {shape[level]}"
                )
            iterators.append(iter(item))
            break
        else:
            iterators.pop()


# Values


def _regular(alias: str, value: Json, info: TensorInfo) -> Array | None:
    """A value as an array if it is a regular nest of lists of the right kind, else None."""
    shape = dense_shape(value)
    level = [value]
    for size in shape:
        if set(map(type, level)) != {list} or set(map(len, level)) != {size}:
            return None
        level = list(chain.from_iterable(level))
    if len(level) != prod(shape):
        return None
    array = _convert(level, info)
    return None if array is None else _reshaped(alias, array, shape)


def _reshaped(alias: str, array: Array, shape: tuple[int, ...]) -> Array:
    try:
        return array.reshape(shape)
    except ValueError:  # more dimensions than an array can have
        raise invalid_argument(f"tensor parsing error: {alias}") from None


def _convert(values: list[Any], info: TensorInfo) -> Array | None:
    """Leaves as an array of shape (values,) and the input's dtype; None if one of them does not fit."""
    if not values:
        return np.empty(0, info.dtype)
    kind, data_type = set(map(type, values)), info.data_type
    if data_type in FLOATS and kind <= {int, float}:
        with np.errstate(over="ignore"):
            return np.array(values, info.dtype)
    if data_type in INT_RANGES and kind == {int}:
        low, high = INT_RANGES[data_type]
        if min(values) < low or max(values) > high:
            return None
        return np.array(values, np.int64 if data_type in INT32S else info.dtype).astype(info.dtype, copy=False)
    if data_type == DataType.BOOL and kind == {bool}:
        return np.array(values, np.bool_)
    if data_type == DataType.STRING and kind <= {str, bytes, dict}:
        return _strings(values)
    return None


def _strings(values: list[Any]) -> Array | None:
    array = np.empty(len(values), object)
    try:
        array[:] = [to_bytes(v) if type(v) is str else v if type(v) is bytes else decode_object(v) for v in values]
    except StatusError:
        return None
    return array


def _checked(leaf: Json, data_type: int) -> Any:
    """A leaf as a tensor's value (AddValueToTensor).

    Raises:
        StatusError: INVALID_ARGUMENT if it is not of that type, UNIMPLEMENTED if JSON cannot carry the type.
    """
    if isinstance(leaf, dict):
        if data_type != DataType.STRING:
            raise _type_error(leaf, data_type)
        return decode_object(leaf)
    if data_type in FLOATS:
        fits = type(leaf) in (int, float)
    elif data_type in INT_RANGES:
        low, high = INT_RANGES[data_type]
        fits = type(leaf) is int and low <= leaf <= high
    elif data_type in (DataType.STRING, DataType.BOOL):
        fits = type(leaf) is (str if data_type == DataType.STRING else bool)
    else:
        raise StatusError(
            Code.UNIMPLEMENTED, f"Conversion of JSON Value: {quote(leaf)} to type: {dtype_name(data_type)}"
        )
    if not fits:
        raise _type_error(leaf, data_type)
    return leaf


def _type_error(leaf: Json, data_type: int) -> StatusError:
    return invalid_argument(
        f"JSON Value: {quote(leaf)} Type: {json_type(leaf)} is not of expected type: {dtype_name(data_type)}"
    )


def dtype_name(number: int) -> str:
    """TensorFlow's name of a DataType (`DataTypeString`)."""
    kind = DataType(number)
    return kind.cc_name if kind == number else f"unknown dtype enum ({number})"


def json_type(value: Json) -> str:
    """RapidJSON's name of a value's type."""
    if isinstance(value, bool):
        return "True" if value else "False"
    return "Object" if isinstance(value, dict) else _JSON_TYPES[type(value)]

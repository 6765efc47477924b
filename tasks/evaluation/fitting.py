"""Fitting features of data to the inputs of a signature: what a model is trained on is what its clients send."""

from collections.abc import Mapping

import numpy as np

from tasks.errors import InvalidData
from tasks.records import SignatureSpec, TensorSpec
from tasks.wire.dtypes import Array, numpy_dtype


def fitted(array: Array, spec: TensorSpec) -> Array | None:
    """`array` `[N, …]` as an input of this spec takes it; None if it cannot.

    Numbers become numbers of the input's dtype, texts bytes. An axis of size 1 at the end is added or left out:
    `[N, 28, 28]` are `[N, 28, 28, 1]`, and a column `[N]` is `[N, 1]`. No value is changed.
    """
    dtype = numpy_dtype(spec.dtype)
    if (dtype.kind == "O") != (array.dtype.kind in "OSU"):
        return None
    if dtype.kind == "O":
        cast = np.array([_as_bytes(value) for value in array.ravel()], object).reshape(array.shape)
    else:
        cast = array.astype(dtype, copy=False)
        if dtype.kind in "iub" and not np.array_equal(cast.astype(array.dtype), array):
            return None
    if spec.shape is None:
        return cast
    whole: tuple[int, ...] = cast.shape
    for shape in (whole, (*whole, 1), whole[:-1] if whole[-1] == 1 else ()):
        if _fits(shape, spec.shape):
            return cast.reshape(shape)
    return None


def spread(rows: int, wanted: int) -> Array:
    """Numbers of up to so many rows, all over the data: rows often lie in order, by their time for instance."""
    return np.unique(np.linspace(0, max(rows - 1, 0), min(rows, wanted)).astype(np.int64))


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    if len(shape) != len(wanted) or not shape:
        return False
    return all(want in (None, size) for size, want in zip(shape[1:], wanted[1:], strict=True))


def _as_bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def taken(features: Mapping[str, Array], signature: SignatureSpec) -> dict[str, str] | None:
    """Which feature each input of a signature takes, None if they do not fit: by name, or the only one."""
    if len(signature.inputs) == 1 and len(features) == 1:
        pairs = dict(zip(signature.inputs, features, strict=True))
    elif signature.inputs.keys() <= features.keys():
        pairs = {name: name for name in signature.inputs}
    else:
        return None
    fits = all(fitted(features[feature][:1], signature.inputs[name]) is not None for name, feature in pairs.items())
    return pairs if fits else None


def inputs_of(features: Mapping[str, Array], pairs: Mapping[str, str], signature: SignatureSpec) -> dict[str, Array]:
    """The features as the inputs of a signature, by `pairs` as `taken` gives them.

    Raises:
        InvalidData: a feature is missing, or does not fit its input.
    """
    found = {}
    for name, feature in pairs.items():
        spec = signature.inputs[name]
        array = fitted(features[feature], spec) if feature in features else None
        if array is None:
            there = f"{features[feature].dtype} {list(features[feature].shape)}" if feature in features else "not there"
            shape = "any" if spec.shape is None else list(spec.shape)
            raise InvalidData(f"Input {name!r} takes {spec.dtype} {shape}, but the data's {feature!r} is {there}.")
        found[name] = array
    return found

"""What a user's own function gives, as labelled data."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tasks.data.examples import Examples, Loaded
from tasks.data.plain import joined, plain
from tasks.errors import InvalidData
from tasks.wire.dtypes import Array

EXPECTED = (
    "(features, labels) or (features, labels, weights), each an array, a dict of arrays by name or a DataFrame; or a "
    "tf.data.Dataset of such pairs; or a tasks.data.examples.Loaded"
)


def labelled(value: Any, where: str) -> Loaded:
    """What a recipe's `load` or a `module:function` returned, as arrays by name.

    Args:
        value: `Loaded` or `Examples`; `(features, labels)` or `(features, labels, weights)`, where features and labels
            are each an array, a dict of arrays or a pandas DataFrame or Series; or a finite `tf.data.Dataset` of such
            pairs, batched or not. Lists of different lengths are padded with 0 or "" at their end.
        where: what messages call it.

    Raises:
        InvalidData: it is something else, has no end, or holds what is neither a number nor a text.
    """
    if isinstance(value, Examples):
        loaded = value if isinstance(value, Loaded) else Loaded(value.features, value.labels, value.weights)
        return _plain(loaded, where)
    if hasattr(value, "as_numpy_iterator"):
        value = _of_dataset(value, where)
    if not isinstance(value, tuple | list) or len(value) not in (2, 3):
        raise InvalidData(f"{where} gave {_described(value)}, expected {EXPECTED}.")
    features, labels, weights = (*value, None)[:3]
    return _plain(Loaded(_named(features, "x"), _named(labels, "y"), weights), where)


def _plain(loaded: Loaded, where: str) -> Loaded:
    def one(value: Any, name: str) -> Array | None:
        return None if value is None else plain(value, name, where)

    return Loaded(
        {str(name): plain(array, str(name), where) for name, array in _named(loaded.features, "x").items()},
        {str(name): plain(array, str(name), where) for name, array in _named(loaded.labels, "y").items()},
        one(loaded.weights, "weights"),
        one(loaded.group, "group"),
        one(loaded.time, "time"),
        one(loaded.split, "split"),
    )


def _named(value: Any, otherwise: str) -> Mapping[str, Any]:
    """Arrays by name: a dict's own, a DataFrame's columns, a Series' name."""
    if isinstance(value, Mapping):
        return value
    if hasattr(value, "to_frame") and hasattr(value, "to_numpy"):
        value = value.to_frame(otherwise if value.name is None else value.name)
    if hasattr(value, "columns") and hasattr(value, "to_numpy"):
        import pyarrow as pa

        from tasks.data.tables import columns

        try:
            return columns(pa.Table.from_pandas(value, preserve_index=False), "the DataFrame")
        except (pa.ArrowException, ValueError) as error:
            raise InvalidData(f"The DataFrame has a column of mixed types ({error}): convert it to one type.") from None
    return {otherwise: value}


def _of_dataset(dataset: Any, where: str) -> tuple[Any, ...]:
    """All rows of a `tf.data.Dataset`: its elements' arrays one after another."""
    if int(dataset.cardinality()) == -1:
        raise InvalidData(f"{where} gave a tf.data.Dataset without an end: leave out .repeat(), or add .take(n).")
    spec = dataset.element_spec
    if not isinstance(spec, tuple) or len(spec) not in (2, 3) or not all(hasattr(s, "shape") for s in _leaves(spec)):
        raise InvalidData(
            f"{where} gave a tf.data.Dataset of {spec}, expected one of (features, labels[, weights]), each a "
            "tensor or a dict of tensors by name."
        )
    batched = _is_batched(spec, where)
    found: list[list[Array]] = [[] for _ in _leaves(spec)]
    for element in dataset.as_numpy_iterator():
        for blocks, array in zip(found, _leaves(element), strict=True):
            blocks.append(_block(array, batched, where))
    arrays = iter([joined(blocks, "each array", where) for blocks in found])
    return tuple(_like(part, arrays) for part in spec)


def _block(array: Any, batched: bool, where: str) -> Array:
    """One element's array as rows."""
    if not batched:
        return np.array([array], object if isinstance(array, bytes) else None)
    ragged = array.dtype == object and any(isinstance(row, np.ndarray) for row in array)
    return joined([row[None] for row in array], "a batch", where) if ragged else np.asarray(array)


def _is_batched(spec: Any, where: str) -> bool:
    shapes = [tuple(leaf.shape) for leaf in _leaves(spec)]
    if any(not shape for shape in shapes):
        return False
    if all(shape[0] is None for shape in shapes):
        return True
    if len({shape[0] for shape in shapes}) > 1:
        return False
    raise InvalidData(
        f"{where} gave a tf.data.Dataset of elements {spec}, which may be single rows or batches of {shapes[0][0]}: "
        "give it as .batch(n) without drop_remainder, or .unbatch() it."
    )


def _leaves(element: tuple[Any, ...]) -> Iterator[Any]:
    """The arrays of an element, or their specs, in the order of `_like`."""
    for part in element:
        yield from (part[name] for name in sorted(part)) if isinstance(part, Mapping) else (part,)


def _like(spec: Any, arrays: Iterator[Array]) -> Any:
    return {name: next(arrays) for name in sorted(spec)} if isinstance(spec, Mapping) else next(arrays)


def _described(value: Any) -> str:
    kinds = f" of {len(value)}" if isinstance(value, tuple | list) else ""
    return f"{type(value).__module__}.{type(value).__qualname__}{kinds}".removeprefix("builtins.")

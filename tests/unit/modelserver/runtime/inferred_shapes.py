"""Prints, for each operation that the model server takes to be bounded, whether shapes decide its outputs' shapes.

TensorFlow's own shape inference is asked, in a graph: inputs have a shape and no value, but for those whose values are
the model's own. Usage: python -m tests.unit.modelserver.runtime.inferred_shapes
"""

import itertools
import json
import os
import sys
from collections.abc import Iterator
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import tensorflow as tf
from tensorflow.python.framework import op_def_library, op_def_registry

from infra.modelserver.runtime.graphs import BOUNDED_OPS

SHAPES = ((), (4,), (2, 2), (4, 4), (4, 4, 4, 4), (2, 4, 4, 4, 4))
# What the model's own values may be, and attributes without a default; the first that the operation takes is used.
VALUES: dict[str, list[Any]] = {
    "axis": [0, [0]], "begin": [[0], [0, 0]], "block_shape": [[2, 2]], "concat_dim": [0], "crops": [[[0, 0], [0, 0]]],
    "delta": [1], "depth": [3], "dim": [0], "dimension": [0], "dims": [[3]], "end": [[2]],
    "input_sizes": [[4, 4, 4, 4], [2, 4, 4, 4, 4]], "k": [2], "limit": [5], "multiples": [[2]], "num_lower": [1],
    "num_upper": [1], "paddings": [[[1, 1]], [[0, 0], [0, 0]]], "perm": [[0]], "reduction_indices": [[0]],
    "shape": [[4], [4, 4]], "size": [[2], [2, 2]], "size_splits": [[2, 2]], "split_dim": [0], "start": [0],
    "strides": [[1]],
}  # fmt: skip
ATTRIBUTES: dict[str, Any] = {
    "DstT": tf.float32, "Tout": tf.float32, "block_size": 2, "dtype": tf.float32, "equation": "ab,bc->ac",
    "message": "", "mode": "REFLECT", "num": 4, "num_split": 2, "padding": "VALID", "shape": tf.TensorShape([4]),
    "type": tf.float32, "value": tf.make_tensor_proto([1.0]),
}  # fmt: skip
TYPES = (tf.float32, tf.bool, tf.int32)


def attributes(op: Any) -> dict[str, Any]:
    """Values for the attributes that inputs do not tell."""
    dimensions = 5 if "3D" in op.name else 4
    given: dict[str, Any] = {}
    for attribute in op.attr:
        name, default = attribute.name, attribute.default_value
        kind = default.WhichOneof("value")
        if name in ("strides", "dilations"):
            given[name] = [1] * dimensions
        elif name == "ksize":
            given[name] = [1, *[2] * (dimensions - 2), 1]
        elif name in ATTRIBUTES:
            given[name] = ATTRIBUTES[name]
        elif kind in ("b", "i", "f", "s"):
            given[name] = getattr(default, kind)
        elif kind == "type" and name not in [arg.type_attr for arg in op.input_arg]:
            given[name] = tf.dtypes.as_dtype(default.type)
        elif kind == "list":
            given[name] = list(default.list.i)
    return given


def inputs(op: Any, fixed: set[str]) -> Iterator[dict[str, Any]]:
    """Ways to give the operation its inputs, each in a graph of its own that is the default meanwhile."""
    free = [arg for arg in op.input_arg if arg.name not in fixed]
    shapes: Iterator[tuple[Any, ...]] = itertools.product(SHAPES, repeat=len(free))
    if len(free) == 5:  # batch normalisation
        shapes = iter([((4, 4, 4, 4), (4,), (4,), (4,), (4,))])
    values = [
        dict(zip(sorted(fixed), way, strict=True)) for way in itertools.product(*[VALUES[n] for n in sorted(fixed)])
    ]
    for shape, value, dtype in itertools.product(shapes, values, TYPES):
        with tf.Graph().as_default():
            made = {name: tf.constant(number, tf.int32) for name, number in value.items()}
            for arg, size in zip(free, shape, strict=True):
                kind = tf.dtypes.as_dtype(arg.type) if arg.type else tf.int32 if arg.name == "indices" else dtype
                if kind == tf.resource:
                    made[arg.name] = tf.raw_ops.VarHandleOp(dtype=tf.float32, shape=[4, 4])
                    continue
                one = tf.compat.v1.placeholder(kind, size)
                made[arg.name] = [one, one] if arg.number_attr or arg.type_list_attr else one
            yield made


def decided(op: Any, fixed: set[str]) -> bool | None:
    """Whether shapes decide the outputs' shapes; None if the operation could not be made."""
    for given in inputs(op, fixed):
        try:
            made = op_def_library.apply_op(op.name, **given, **attributes(op))
        except (TypeError, ValueError):
            continue
        outputs = made if isinstance(made, list | tuple) else [made]
        return all(output.shape.is_fully_defined() for output in outputs if isinstance(output, tf.Tensor))
    return None


def main() -> None:
    """Print a JSON object: operation → true, false, or null if it could not be made."""
    found = {}
    for name, fixed in BOUNDED_OPS.items():
        op = op_def_registry.get(name)
        found[name] = decided(op, {op.input_arg[number].name for number in fixed})
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()

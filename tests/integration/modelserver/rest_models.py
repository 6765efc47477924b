"""SavedModels that a REST client may ask anything of: `python rest_models.py FOLDER`.

`kinds/1` has an identity for every type and shape, and a loop as long as the client likes; `examples/1` classifies and
regresses tf.Examples; `digits/1` is a small network on 28x28 pictures. All weights are fixed.
"""

import shutil
import sys
from pathlib import Path

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

DTYPES = (
    "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool", "string",
    "float16", "bfloat16", "complex64",
)  # fmt: skip


def _echo(spec: tf.TensorSpec) -> tf.types.experimental.ConcreteFunction:
    return tf.function(lambda x: {"y": tf.identity(x)}, input_signature=[spec]).get_concrete_function()


def save_kinds(folder: Path) -> None:
    """Identities; `spin` loops `rounds` times; `product` multiplies random matrices of the size asked for."""
    signatures = {f"echo_{name}": _echo(tf.TensorSpec([None], name, name="x")) for name in DTYPES}
    signatures["any_rank"] = _echo(tf.TensorSpec(None, tf.float32, name="x"))
    signatures["scalar"] = _echo(tf.TensorSpec([], tf.float32, name="x"))
    signatures["matrix"] = _echo(tf.TensorSpec([2, 3], tf.float32, name="x"))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, name="rounds")])
    def spin(rounds: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.while_loop(lambda i: i < rounds[0], lambda i: i + 1, [tf.constant(0, tf.int64)]) + rounds * 0}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def total(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.reduce_sum(x)}

    @tf.function(input_signature=[tf.TensorSpec([], tf.int32, name="size")])
    def product(size: tf.Tensor) -> dict[str, tf.Tensor]:
        drawn = tf.random.uniform([size, size])
        for _ in range(4):
            drawn = drawn @ drawn / tf.cast(size, tf.float32)
        return {"y": tf.reduce_sum(drawn)}

    signatures["product"] = product.get_concrete_function()
    signatures["total"] = total.get_concrete_function()
    signatures["spin"] = spin.get_concrete_function()
    tf.saved_model.save(tf.Module(), str(folder), signatures=signatures)


def save_examples(folder: Path) -> None:
    """`classify`: labels and scores of feature `x`; `regress`: 2·x + the feature `bias`."""
    parsed = {
        "x": tf.io.FixedLenFeature([], tf.float32),
        "bias": tf.io.FixedLenFeature([], tf.float32, default_value=0.0),
    }

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def classify(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        x = tf.io.parse_example(inputs, parsed)["x"]
        scores = tf.stack([x, 1.0 - x], 1)
        return {"classes": tf.tile([["small", "large"]], [tf.shape(x)[0], 1]), "scores": scores}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def regress(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        features = tf.io.parse_example(inputs, parsed)
        return {"outputs": features["x"] * 2.0 + features["bias"]}

    tf.saved_model.save(
        tf.Module(), str(folder), signatures={"serving_default": classify, "classify": classify, "regress": regress}
    )
    # tf.saved_model.save calls every method "predict".
    file = folder / "saved_model.pb"
    model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    for name, signature in model.meta_graphs[0].signature_def.items():
        if signature.method_name:
            method = "regress" if name == "regress" else "classify"
            signature.method_name = f"tensorflow/serving/{method}"
    file.write_bytes(model.SerializeToString())


def save_digits(folder: Path) -> None:
    """784 → 128 → 10, with weights from sin() and cos()."""
    module = tf.Module()
    module.hidden = tf.Variable(tf.reshape(tf.sin(tf.range(784 * 128, dtype=tf.float32)), [784, 128]) / 28)
    module.output = tf.Variable(tf.reshape(tf.cos(tf.range(1280, dtype=tf.float32)), [128, 10]) / 11)

    @tf.function(input_signature=[tf.TensorSpec([None, 28, 28, 1], tf.float32, name="inputs")])
    def call(inputs: tf.Tensor) -> tf.Tensor:
        flat = tf.reshape(inputs, [-1, 784])
        return tf.nn.softmax(tf.nn.relu(flat @ module.hidden) @ module.output)

    module.call = call
    tf.saved_model.save(module, str(folder), signatures={"serving_default": call})


def main(root: Path) -> None:
    """Write all of them below root."""
    for name, save in (("kinds", save_kinds), ("examples", save_examples), ("digits", save_digits)):
        shutil.rmtree(root / name, ignore_errors=True)
        save(root / name / "1")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

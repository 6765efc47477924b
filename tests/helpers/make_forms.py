"""Write small SavedModels of the forms that users bring; run with the folder to write into.

Each is a folder of its name. TensorFlow is loaded here, so that tests that only serve them need not load it.
"""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
import tf_keras as keras_2
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

DEFAULT = "serving_default"
X = tf.TensorSpec([None, 3], tf.float32, name="x")

Signatures = Mapping[str, tuple[Callable[..., Any], list[Any]]]  # a function and what it takes, by name


def of(name: str, dtype: Any, shape: list[int | None] | None) -> Any:
    return tf.TensorSpec(shape, dtype, name=name)


def save(folder: Path, signatures: Signatures, **tracked: object) -> None:
    module = tf.Module()
    for name, value in tracked.items():
        setattr(module, name, value)
    functions = {n: tf.function(f, input_signature=specs, autograph=False) for n, (f, specs) in signatures.items()}
    module.functions = functions
    tf.saved_model.save(module, str(folder), signatures=functions)


def double(x: Any) -> Any:
    return {"y": x * 2}


def a_variant(x: Any) -> Any:
    return tf.raw_ops.TensorListReserve(element_shape=[3], num_elements=2, element_dtype=x.dtype)


def that_nobody_can_ask(folder: Path) -> None:
    length = (lambda v: {"y": tf.raw_ops.TensorListLength(input_handle=v)}, [of("v", tf.variant, [])])
    words = (lambda text: {"y": tf.strings.split(text)}, [of("text", tf.string, [None])])
    variant = (lambda x: {"v": a_variant(x)}, [X])
    save(folder / "partly-unaskable", {DEFAULT: (double, [X]), "length": length, "list": variant, "words": words})


def what_changes(folder: Path) -> None:
    save(folder / "sampling", {DEFAULT: (lambda x: {"y": x * 2, "s": tf.random.normal(tf.shape(x))}, [X])})
    calls = tf.Variable(0.0)
    save(folder / "counting", {DEFAULT: (lambda x: {"y": x + calls.assign_add(1.0)}, [X])}, calls=calls)


def large(folder: Path) -> None:
    def slowly(x: Any) -> Any:
        turns = 60_000 * tf.shape(x)[0]
        return {"y": x + tf.while_loop(lambda n, _: n < turns, lambda n, v: (n + 1, v / 2), [0, 1.0])[1]}

    images = (lambda x: {"y": x[:, 0, 0, 0]}, [of("x", tf.float32, [None, 224, 224, 3])])
    masks = (lambda x: {"y": tf.zeros([tf.shape(x)[0], 400, 400])}, [X])
    save(folder / "large", {"images": images, "masks": masks, "slow": (slowly, [X])})


def that_need_real_inputs(folder: Path) -> None:
    def brightness(files: Any) -> Any:
        def one(file: Any) -> Any:
            return tf.reduce_mean(tf.cast(tf.io.decode_png(file, 1), tf.float32))

        return {"y": tf.map_fn(one, files, fn_output_signature=tf.float32)}

    save(folder / "image-bytes", {DEFAULT: (brightness, [of("image", tf.string, [None])])})
    features = {"a": tf.io.FixedLenFeature([3], tf.float32)}
    parse = (lambda examples: {"y": tf.io.parse_example(examples, features)["a"]}, [of("examples", tf.string, [None])])
    save(folder / "tf-example", {DEFAULT: parse})
    save(folder / "logarithm", {DEFAULT: (lambda x: {"y": tf.math.log(x - 5.0)}, [X])})
    sparse = tf.SparseTensorSpec([None, 5], tf.float32)
    save(folder / "sparse", {DEFAULT: (lambda s: {"y": tf.sparse.reduce_sum(s, 1)}, [sparse])})
    weight = tf.Variable(tf.ones([3, 2]))
    rank = of("x", tf.float32, None)
    save(folder / "no-shape", {DEFAULT: (lambda x: {"y": tf.matmul(x, weight)}, [rank])}, weight=weight)
    path = folder / "no-shape" / "saved_model.pb"
    content = SavedModel.FromString(path.read_bytes())
    content.meta_graphs[0].signature_def[DEFAULT].inputs["x"].tensor_shape.unknown_rank = False  # as [] is recorded
    path.write_bytes(content.SerializeToString())


def that_work(folder: Path) -> None:
    initializer = tf.lookup.KeyValueTensorInitializer(tf.constant(["a", "b"]), tf.constant([1, 2], tf.int64))
    table = tf.lookup.StaticHashTable(initializer, -1)
    two = tf.constant(2.0)

    def branches_and_loops(x: Any) -> Any:
        sign = tf.cond(tf.reduce_sum(x) > 0, lambda: x, lambda: -x)
        return {"y": tf.while_loop(lambda n, _: n < 3, lambda n, v: (n + 1, v * 2), [0, sign])[1]}

    def scaled(x: Any, scale: Any = two) -> Any:
        return {"y": x * scale}

    signatures: Signatures = {
        DEFAULT: (double, [X]),
        "nothing": (lambda: {"y": tf.constant([1.0])}, []),
        "table": (lambda text: {"y": table.lookup(text)}, [of("text", tf.string, [None])]),
        "branches-and-loops": (branches_and_loops, [X]),
        "unknown-rank": (double, [of("x", tf.float32, None)]),
        "fixed-batch": (double, [of("x", tf.float32, [2, 3])]),
        "default-value": (scaled, [X, of("scale", tf.float32, [])]),
        "complex": (lambda x: {"y": x * 2, "z": tf.complex(x, x)}, [X]),
        "bfloat16": (double, [of("x", tf.bfloat16, [None, 3])]),
        "half": (lambda x: {"y": tf.cast(x * 2, tf.float16)}, [X]),
        "variant": (lambda x: {"y": x * 2, "v": a_variant(x)}, [X]),
    }
    save(folder / "many", signatures, table=table)
    as_tensorflow_1(folder / "first-generation")


def as_tensorflow_1(folder: Path) -> None:
    compat = tf.compat.v1
    with tf.Graph().as_default(), compat.Session() as session:
        x = compat.placeholder(tf.float32, [None, 3])
        keep = compat.placeholder_with_default(1.0, [])
        weight = compat.get_variable("w", initializer=np.ones((3, 2), np.float32), use_resource=False)
        session.run(compat.global_variables_initializer())
        answer = {"y": tf.matmul(x, weight) * keep, "w": tf.identity(weight)}
        compat.saved_model.simple_save(session, str(folder), {"x": x, "keep": keep}, answer)


def as_keras_2(folder: Path) -> None:
    """What `model.save` and `model.export` of Keras 2 write, with layers that know data and layers that only train."""
    layers = keras_2.layers
    keras_2.backend.clear_session()  # which names layers anew
    keras_2.utils.set_random_seed(1)
    normalised = layers.Normalization()
    normalised.adapt(np.arange(12, dtype=np.float32).reshape(4, 3))
    plain = [normalised, layers.Dense(4, "relu"), layers.BatchNormalization(), layers.Dropout(0.5), layers.Dense(2)]
    sequential = keras_2.Sequential([keras_2.Input([3]), *plain])
    sequential.save(folder / "keras-2-sequential", save_format="tf")
    sequential.export(str(folder / "keras-2-exported"))
    inputs = {"size": keras_2.Input([1], name="size"), "town": keras_2.Input([1], name="town", dtype="string")}
    town = layers.StringLookup(vocabulary=["Bern", "Basel"], output_mode="one_hot")(inputs["town"])
    both = layers.Concatenate()([inputs["size"], town])
    answers = {"price": layers.Dense(1)(both), "kind": layers.Dense(3, "softmax")(both)}
    keras_2.Model(inputs, answers).save(folder / "keras-2-mixed", save_format="tf")


def make(folder: Path) -> None:
    """Write all."""
    for kind in (that_work, that_nobody_can_ask, that_need_real_inputs, large, what_changes, as_keras_2):
        kind(folder)


if __name__ == "__main__":
    make(Path(sys.argv[1]))

"""SavedModels as `affine` and `mlp` of the small models are, each bad in one way.

    python -m tests.integration.make_bad_models DIR MIB

Each is written to DIR/NAME. MIB is the size of what `large` holds, and `greedy` asks for in one piece as it is loaded.
"""

import shutil
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

from tasks.savedmodel.golden import prediction_log
from tasks.training.export import WARM_UP
from tasks.wire.tfrecord import to_bytes

ANSWERS = 20  # of `tiring` that are right
TURNS = 50_000  # of `slow`, one after the other however many cores there are: about 500 ms


class Affine(tf.Module):
    """y = x / 2 + b, as it should be."""

    def __init__(self, b: float = 2.0) -> None:
        super().__init__()
        self.a, self.b = tf.Variable(0.5), tf.Variable(b)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def serve(self, x):  # type: ignore[no-untyped-def]
        return {"y": self.a * x + self.b}

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
    def serve_pairs(self, x):  # type: ignore[no-untyped-def]
        return {"y": self.a * x[:, 0] + self.b}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def serve_slowly(self, x):  # type: ignore[no-untyped-def]
        _, last = tf.while_loop(lambda n, _: n < TURNS, lambda n, m: (n + 1, tf.tanh(m)), [0, tf.reduce_sum(x)])
        return {"y": self.a * x + self.b + 0.0 * last}


class Tiring(Affine):
    """Affine, until it has answered `ANSWERS` times."""

    def __init__(self) -> None:
        super().__init__()
        self.left = tf.Variable(ANSWERS)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def serve(self, x):  # type: ignore[no-untyped-def]
        return {"y": self.a * x + self.b + tf.cast(self.left.assign_sub(1) < 0, tf.float32)}


class Large(tf.Module):
    """Affine, with weights of as many MiB beside it."""

    def __init__(self, mib: int) -> None:
        super().__init__()
        self.b, self.weights = tf.Variable(2.0), tf.Variable(tf.zeros([mib, 1 << 18]))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def serve(self, x):  # type: ignore[no-untyped-def]
        return {"y": x / 2 + self.b + self.weights[0, 0]}


class Greedy(Affine):
    """Affine, with a signature that makes a text of as many MiB as it is asked for."""

    @tf.function(input_signature=[tf.TensorSpec([], tf.int32, name="mib")])
    def text(self, mib):  # type: ignore[no-untyped-def]
        length = tf.minimum(mib, 1) * (1 << 20)  # not known before it is asked
        piece = tf.strings.reduce_join(tf.fill([length], "x"))
        return {"length": tf.strings.length(tf.strings.reduce_join(tf.fill([mib], piece)))}


class Swapped(tf.Module):
    """The small `mlp`, with the columns of its last layer turned by one."""

    def __init__(self, turned: int) -> None:
        super().__init__()
        self.w1 = tf.Variable(tf.reshape(tf.sin(tf.range(20, dtype=tf.float32)), [4, 5]))
        self.w2 = tf.Variable(tf.roll(tf.reshape(tf.cos(tf.range(15, dtype=tf.float32)), [5, 3]), turned, axis=1))

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="inputs")])
    def call(self, inputs):  # type: ignore[no-untyped-def]
        return tf.nn.softmax(tf.nn.relu(inputs @ self.w1) @ self.w2)

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="inputs")])
    def classify(self, inputs):  # type: ignore[no-untyped-def]
        scores = self.call(inputs)
        return {"class": tf.argmax(scores, -1), "score": tf.reduce_max(scores, -1)}


def save(module: tf.Module, folder: Path, **signatures: object) -> Path:
    tf.saved_model.save(module, str(folder), signatures=signatures)
    return folder


def warm_up(folder: Path, signature: str, **inputs: np.ndarray) -> None:
    """Have the version answer this before it is AVAILABLE."""
    (folder / WARM_UP).parent.mkdir(exist_ok=True)
    (folder / WARM_UP).write_bytes(to_bytes([prediction_log(signature, inputs)]))


def main(folder: Path, mib: int) -> None:
    good = Affine()
    save(good, folder / "good", serving_default=good.serve)
    nan = Affine(float("nan"))
    save(nan, folder / "nan", serving_default=nan.serve)
    save(good, folder / "renamed", serving=good.serve)
    save(good, folder / "reshaped", serving_default=good.serve_pairs)
    save(good, folder / "slow", serving_default=good.serve_slowly)
    shutil.rmtree(save(good, folder / "unweighted", serving_default=good.serve) / "variables")
    cut_off = save(good, folder / "cut-off", serving_default=good.serve) / "variables" / "variables.data-00000-of-00001"
    cut_off.write_bytes(cut_off.read_bytes()[:2])
    warm_up(save(good, folder / "cold", serving_default=good.serve), "gone", x=np.ones(1, np.float32))
    tiring = Tiring()
    save(tiring, folder / "tiring", serving_default=tiring.serve)
    large, greedy = Large(mib), Greedy()
    save(large, folder / "large", serving_default=large.serve)
    save(greedy, folder / "greedy", serving_default=greedy.serve, text=greedy.text)
    warm_up(folder / "greedy", "text", mib=np.array(mib, np.int32))
    swapped = Swapped(1)
    save(swapped, folder / "swapped", call=swapped.call, classify=swapped.classify, serving_default=swapped.call)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))

"""The recipe of the demonstration: two models for digits of 28 x 28 pixels, and how their data is scaled.

It looks as a user's own module does, so TensorFlow is imported at the top: only `tasks.training` imports this module,
and only in the process that trains.
"""

from typing import Any

import keras
import tensorflow as tf

from tasks.data.digits import load as load  # a part of the recipe, which needs no TensorFlow

_IMAGE = (28, 28, 1)
_CLASSES = 10
_UNITS = 256

_IMAGES = [tf.TensorSpec([None, *_IMAGE], tf.float32, name="inputs")]
_FILES = [tf.TensorSpec([None], tf.string, name="image_bytes")]


class RandomShift(keras.layers.Layer):  # type: ignore[misc]
    """In training, moves each batch of images by up to `pixels` in both directions; otherwise does nothing."""

    def __init__(self, pixels: int) -> None:
        super().__init__()
        self.pixels = pixels

    def call(self, inputs: Any, training: bool = False) -> Any:
        """`[B, H, W, C]` to the same shape; pixels moved out are lost, those moved in are 0."""
        if not training:
            return inputs
        around = [self.pixels, self.pixels]
        padded = tf.pad(inputs, [[0, 0], around, around, [0, 0]])
        return tf.ensure_shape(tf.image.random_crop(padded, tf.shape(inputs)), inputs.shape)


class MLP(keras.Model):  # type: ignore[misc]
    """A perceptron with one hidden layer, whose methods become signatures: `call`, `classify` and `from_png`.

    A method with an `input_signature` is traced once, so it cannot know whether the model is being trained: what is
    only for training (as Dropout would be) happens in `train_step`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.shift = RandomShift(1)
        self.flatten = keras.layers.Flatten()
        self.hidden = keras.layers.Dense(_UNITS, activation="relu")
        self.scores = keras.layers.Dense(_CLASSES, activation="softmax")

    def build(self, _input_shape: Any) -> None:
        """Make all weights: under a traced `call` Keras would find none to train."""
        pixels = _IMAGE[0] * _IMAGE[1] * _IMAGE[2]
        self.hidden.build((None, pixels))
        self.scores.build((None, _UNITS))
        self.built = True

    @tf.function(input_signature=_IMAGES)  # type: ignore[untyped-decorator]
    def call(self, inputs: Any) -> Any:
        """Probabilities float32 `[B, 10]` of images float32 `[B, 28, 28, 1]` in 0..1."""
        return self.scores(self.hidden(self.flatten(inputs)))

    @tf.function(input_signature=_IMAGES)  # type: ignore[untyped-decorator]
    def classify(self, inputs: Any) -> dict[str, Any]:
        """The likeliest `class` int64 `[B]` and its `score` float32 `[B]`, of images as `call` takes them."""
        probabilities = self.call(inputs)
        return {"class": tf.argmax(probabilities, axis=-1), "score": tf.reduce_max(probabilities, axis=-1)}

    @tf.function(input_signature=_FILES)  # type: ignore[untyped-decorator]
    def from_png(self, image_bytes: Any) -> Any:
        """Probabilities as from `call`, of PNG files `[B]` of 28 x 28 grey pixels; over REST each is `{"b64": …}`."""
        images = tf.map_fn(_decoded_png, image_bytes, fn_output_signature=tf.TensorSpec(_IMAGE, tf.float32))
        return self.call(images)

    def train_step(self, data: Any) -> Any:
        """One step of training on images that were shifted at random."""
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        return super().train_step((self.shift(x, training=True), y, weight))


def _decoded_png(image: Any) -> Any:
    pixels = tf.ensure_shape(tf.io.decode_png(image, channels=1), _IMAGE)
    return tf.cast(pixels, tf.float32) / 255.0


def make(_data: Any) -> MLP:
    """The custom model."""
    return mlp()


def mlp() -> MLP:
    """The custom model, ready to be trained."""
    model = MLP()
    model.build((None, *_IMAGE))
    _compile(model)
    return model


def sequential_mlp() -> keras.Sequential:
    """The same perceptron as a Sequential, whose only signature is `serving_default`, ready to be trained."""
    model = keras.Sequential(
        [
            keras.Input(_IMAGE, name="inputs"),
            RandomShift(1),
            keras.layers.Flatten(),
            keras.layers.Dense(_UNITS, activation="relu"),
            keras.layers.Dense(_CLASSES, activation="softmax"),
        ]
    )
    _compile(model)
    return model


def _compile(model: keras.Model) -> None:
    model.compile(
        # The weights in the end are an average over the last half epoch: the accuracy depends less on where it stops.
        keras.optimizers.Adam(2e-3, use_ema=True, ema_momentum=0.97),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=False,  # compiling takes longer than it saves on so small a model
        steps_per_execution=16,
    )

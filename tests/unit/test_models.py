import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from tasks.data.dataset import Dataset
    from tasks.training.train import TrainedModel

# One process of `make test` loads TensorFlow for these tests.
pytestmark = pytest.mark.xdist_group("keras")


def test_a_few_epochs_teach_it_most_digits(trained: "TrainedModel", digits: "Dataset") -> None:
    """What a release promises is tested with one: tests/integration/stack/test_delivery.py."""
    assert (trained.answers["y"].argmax(axis=1) == digits.test.labels["y"]).mean() >= 0.85


def test_classify_names_the_likeliest_class_and_its_score(trained: "TrainedModel") -> None:
    model = trained.loaded.model
    probabilities = model.call(trained.examples["x"]).numpy()
    answer = model.classify(trained.examples["x"])
    assert answer["class"].dtype == "int64"
    assert answer["score"].dtype == "float32"
    assert np.array_equal(answer["class"], probabilities.argmax(axis=1))
    assert np.array_equal(answer["score"], probabilities.max(axis=1))


def test_a_png_file_gives_the_probabilities_of_its_pixels(trained: "TrainedModel") -> None:
    import tensorflow as tf

    model = trained.loaded.model
    files = [tf.io.encode_png(pixels) for pixels in np.rint(trained.examples["x"] * 255).astype(np.uint8)]
    assert np.allclose(model.from_png(tf.stack(files)), model.call(trained.examples["x"]), rtol=0, atol=1e-6)


def test_a_png_file_of_another_size_is_refused(trained: "TrainedModel") -> None:
    import tensorflow as tf

    with pytest.raises(tf.errors.InvalidArgumentError, match="28,28,1"):
        trained.loaded.model.from_png([tf.io.encode_png(np.zeros((20, 20, 1), np.uint8))])


def test_images_are_shifted_while_training_only() -> None:
    import tensorflow as tf

    from tasks.models import RandomShift

    image = np.zeros((2, 5, 5, 1), np.float32)
    image[:, 2, 2] = 1
    shift = RandomShift(1)
    assert np.array_equal(shift(image), image)
    tf.random.set_seed(0)
    places = {tuple(np.argwhere(shift(image, training=True).numpy()[0, ..., 0])[0]) for _ in range(50)}
    assert places <= {(row, column) for row in (1, 2, 3) for column in (1, 2, 3)}
    assert len(places) > 4


def test_the_sequential_model_is_the_same_perceptron(few_digits: "Dataset") -> None:
    from tasks.models import mlp, sequential_mlp

    custom, sequential = mlp(), sequential_mlp()
    sequential.set_weights(custom.get_weights())
    assert np.allclose(
        sequential.predict(few_digits.test.features["x"], verbose=0),
        custom.predict(few_digits.test.features["x"], verbose=0),
    )
    assert json.loads(sequential.to_json())["class_name"] == "Sequential"

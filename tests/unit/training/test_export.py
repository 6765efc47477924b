import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tasks.errors import InvalidInput, InvalidModel
from tasks.savedmodel.content import describe_files
from tasks.savedmodel.golden import GoldenExample, compare, read_golden, records_of
from tasks.savedmodel.messages import Failure
from tasks.savedmodel.read import SavedModelFolder
from tasks.savedmodel.session import Question, ask
from tasks.savedmodel.wires import rest_note
from tasks.training.export import WARM_UP, export_saved_model
from tasks.training.train import train
from tasks.wire.protos import PredictionLog

if TYPE_CHECKING:
    from tasks.data.dataset import Dataset
    from tasks.training.export import ExportedModel
    from tasks.training.train import TrainedModel

# One process of `make test` loads TensorFlow for these tests.
pytestmark = pytest.mark.xdist_group("keras")

Write = Callable[[str, str], str]

MODELS = """
import keras
import tensorflow as tf

images = [tf.TensorSpec([None, 28, 28, 1], tf.float32, name="images")]

class Rich(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(10, activation="softmax")
        self.dense.build((None, 784))
        self.built = True
    @tf.function(input_signature=images)
    def call(self, images):
        return self.dense(tf.reshape(images, [-1, 784]))
    @tf.function(input_signature=[tf.TensorSpec([2, 28, 28, 1], tf.float32, name="two")])
    def pair(self, two):
        return [self.call(two), tf.constant("text")]
    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.int32, name="a"), tf.TensorSpec([], tf.bool, name="b")])
    def mixed(self, a, b):
        return {"sum": tf.reduce_sum(a, -1), "flag": b, "text": tf.strings.as_string(a)}
    @tf.function(input_signature=images)
    def refuses(self, images):
        tf.debugging.assert_greater(images, 1.0, message="too dark")
        return images

class Looks(Rich):
    @tf.function(input_signature=images)
    def named(self, images):
        pairs = tf.lookup.KeyValueTensorInitializer(tf.constant([0], tf.int64), tf.constant(["zero"]))
        return {"name": tf.lookup.StaticHashTable(pairs, "?").lookup(tf.argmax(self.call(images), -1))}

def rich(): return Rich()
def looks(): return Looks()
def halves():
    policy = keras.mixed_precision.DTypePolicy("mixed_float16")
    layers = [keras.layers.Flatten(), keras.layers.Dense(10, activation="softmax", dtype=policy)]
    return keras.Sequential([keras.Input((28, 28, 1)), *layers])
"""


def require_answers(directory: Path, golden: list[GoldenExample]) -> None:
    """Loaded as TensorFlow Serving loads it, the model answers its golden examples as expected."""
    for example, answer in zip(golden, ask(directory, [Question(e.signature, e.inputs) for e in golden]), strict=True):
        assert not isinstance(answer, Failure), answer.message
        assert compare(example.outputs, answer) == []


def test_golden_examples_are_the_trained_models_own_answers(exported: "ExportedModel", trained: "TrainedModel") -> None:
    golden = {example.signature: example for example in read_golden(exported.directory / exported.golden)}
    model, digits = trained.loaded.model, trained.examples["x"]
    assert golden.keys() == {"call", "classify", "from_png", "serving_default"}
    assert len(digits) == 16
    assert np.array_equal(golden["call"].inputs["inputs"], digits)
    assert not compare({"output_0": model.call(digits).numpy()}, golden["call"].outputs, 0)
    assert not compare({k: v.numpy() for k, v in model.classify(digits).items()}, golden["classify"].outputs, 0)
    assert all(png.startswith(b"\x89PNG") for png in golden["from_png"].inputs["image_bytes"])
    assert not compare(golden["call"].outputs, golden["from_png"].outputs)
    assert not compare(golden["call"].outputs, golden["serving_default"].outputs, 0)


def test_each_signature_is_warmed_up_once(exported: "ExportedModel") -> None:
    logs = [PredictionLog.FromString(record).predict_log for record in records_of(exported.directory / WARM_UP)]
    assert [log.request.model_spec.signature_name for log in logs] == list(exported.signatures)
    for log in logs:
        assert log.request.inputs.keys() == exported.signatures[log.request.model_spec.signature_name].inputs.keys()
        assert not log.HasField("response")


def test_the_signatures_are_those_of_the_files(exported: "ExportedModel") -> None:
    assert exported.signatures == SavedModelFolder.read(exported.directory).signatures


def test_a_sequential_model_is_served_by_default(few_digits: "Dataset", tmp_path: Path) -> None:
    trained = train("tasks.models:sequential_mlp", few_digits, seed=0, epochs=1)
    exported = export_saved_model(trained, tmp_path / "1")
    assert exported.signatures.keys() == {"serving_default"}
    assert exported.signatures["serving_default"].inputs.keys() == {"inputs"}
    require_answers(exported.directory, read_golden(exported.directory / exported.golden))


def test_methods_of_every_kind_are_exported_and_can_be_served(
    few_digits: "Dataset", user_module: Write, tmp_path: Path
) -> None:
    spec = f"{user_module('rich_models', MODELS)}:rich"
    methods = {"call": "call", "two": "pair", "mixed": "mixed"}
    exported = export_saved_model(train(spec, few_digits, seed=0, epochs=1, signatures=methods), tmp_path / "1")
    golden = {example.signature: example for example in read_golden(exported.directory / exported.golden)}
    assert golden["two"].inputs["two"].shape == (2, 28, 28, 1)
    assert golden["two"].outputs["output_1"].item() == b"text"
    assert golden["mixed"].outputs["sum"].tolist() == golden["mixed"].inputs["a"].sum(axis=1).tolist()
    require_answers(exported.directory, list(golden.values()))


def test_a_signature_that_fails_on_examples_is_refused(
    few_digits: "Dataset", user_module: Write, tmp_path: Path
) -> None:
    spec = f"{user_module('rich_models', MODELS)}:rich"
    trained = train(spec, few_digits, seed=0, epochs=1, signatures={"call": "call", "dark": "refuses"})
    with pytest.raises(
        InvalidModel, match=r"Signature 'dark' of rich_models:rich fails on 'images' float32 .*too dark"
    ):
        export_saved_model(trained, tmp_path / "1")
    assert not [path for path in tmp_path.iterdir() if path.is_dir()], "nothing is left of what failed"


def test_a_lookup_table_that_a_method_makes_itself_is_refused_with_where_to_make_it(
    user_module: Write, few_digits: "Dataset", tmp_path: Path
) -> None:
    trained = train(f"{user_module('rich_models', MODELS)}:looks", few_digits, seed=0, epochs=1)
    with pytest.raises(InvalidModel, match=r"'named'.* uses a lookup table .* Make it in __init__, as self\.table = …"):
        export_saved_model(trained, tmp_path / "1")
    assert list(tmp_path.glob("*1*")) == []


def test_a_model_in_half_precision_is_exported_and_told_how_to_be_asked_over_rest(
    user_module: Write, few_digits: "Dataset", tmp_path: Path
) -> None:
    trained = train(f"{user_module('rich_models', MODELS)}:halves", few_digits, seed=0, epochs=1)
    exported = export_saved_model(trained, tmp_path / "1")
    (spec,) = exported.signatures.values()
    assert spec.inputs.keys() == {"inputs"}
    assert rest_note(spec) == (
        "REST cannot carry output 'output_0' (float16); a Keras model gives float32 if its last layer has "
        'dtype="float32"'
    )
    require_answers(exported.directory, read_golden(exported.directory / exported.golden))


def test_nothing_is_written_over(exported: "ExportedModel", trained: "TrainedModel", tmp_path: Path) -> None:
    directory = Path(shutil.copytree(exported.directory, tmp_path / "1"))
    before = describe_files(directory)
    with pytest.raises(InvalidInput, match="1 exists already: export to a new folder"):
        export_saved_model(trained, directory)
    assert describe_files(directory) == before
    assert list(tmp_path.iterdir()) == [directory]

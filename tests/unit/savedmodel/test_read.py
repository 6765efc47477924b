import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tasks.errors import InvalidSavedModel, NotServable
from tasks.records import SignatureSpec, TensorSpec
from tasks.savedmodel.golden import GoldenExample, read_golden, require_golden
from tasks.savedmodel.read import SavedModelFolder
from tasks.wire.protos import SavedModel

if TYPE_CHECKING:
    from tasks.training.export import ExportedModel

# One process of `make test` loads TensorFlow for these tests.
pytestmark = pytest.mark.xdist_group("keras")

IMAGES = TensorSpec("float32", (None, 28, 28, 1))
SCORES = TensorSpec("float32", (None, 10))


@pytest.fixture
def copy(exported: "ExportedModel", tmp_path: Path) -> Path:
    """The exported model, to be harmed."""
    return Path(shutil.copytree(exported.directory, tmp_path / "7"))


@pytest.fixture
def golden(exported: "ExportedModel") -> list[GoldenExample]:
    """What the exported model is to answer."""
    return read_golden(exported.directory / exported.golden)


def test_signatures_are_read_without_tensorflow(exported: "ExportedModel") -> None:
    assert SavedModelFolder.read(exported.directory).signatures == {
        "call": SignatureSpec({"inputs": IMAGES}, {"output_0": SCORES}),
        "classify": SignatureSpec(
            {"inputs": IMAGES}, {"class": TensorSpec("int64", (None,)), "score": TensorSpec("float32", (None,))}
        ),
        "from_png": SignatureSpec({"image_bytes": TensorSpec("string", (None,))}, {"output_0": SCORES}),
        "serving_default": SignatureSpec({"inputs": IMAGES}, {"output_0": SCORES}),
    }


def test_a_whole_saved_model_is_taken(copy: Path) -> None:
    assert SavedModelFolder.read(copy).require_servable().keys() == {"call", "classify", "from_png", "serving_default"}


def edited(edit: Callable[[SavedModel], None]) -> Callable[[Path], None]:
    def harm(path: Path) -> None:
        saved = SavedModel.FromString((path / "saved_model.pb").read_bytes())
        edit(saved)
        (path / "saved_model.pb").write_bytes(saved.SerializeToString())

    return harm


def cut_off(name: str, kept: int) -> Callable[[Path], object]:
    return lambda path: (path / name).write_bytes((path / name).read_bytes()[:kept])


def of_two_shards(path: Path) -> None:
    data = path / "variables" / "variables.data-00000-of-00001"
    data.rename(data.with_name("variables.data-00000-of-00002"))


HARMED: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (shutil.rmtree, "7 is not a folder: give the folder of a SavedModel"),
    "no graph": (lambda p: (p / "saved_model.pb").unlink(), "it holds no saved_model.pb. Write one with model.export"),
    "a cut-off graph": (
        cut_off("saved_model.pb", 5000),
        r"saved_model.pb \(5000 bytes\) is cut off, or not a SavedModel",
    ),
    "an empty graph": (cut_off("saved_model.pb", 0), "holds no graph: it was cut off"),
    "for training": (
        edited(lambda s: s.meta_graphs[0].meta_info_def.tags.append("train")),
        r"no graph tagged 'serve', only \[\['serve', 'train'\]\]",
    ),
    "no signature": (edited(lambda s: s.meta_graphs[0].signature_def.clear()), "7 has no signature"),
    "no variables": (lambda p: shutil.rmtree(p / "variables"), "7 lacks its weights: variables/variables.index"),
    "no index": (lambda p: (p / "variables" / "variables.index").unlink(), "7 lacks its weights"),
    "no weights": (lambda p: next(p.glob("variables/*data*")).unlink(), "7 lacks its weights"),
    "one of two shards": (of_two_shards, "7 lacks some of its weights: 1 of 2 files"),
}


@pytest.mark.parametrize(("harm", "message"), HARMED.values(), ids=HARMED)
def test_what_is_no_whole_saved_model_is_refused(copy: Path, harm: Callable[[Path], object], message: str) -> None:
    harm(copy)
    with pytest.raises(InvalidSavedModel, match=message):
        SavedModelFolder.read(copy).require_servable()


def test_a_folder_of_versions_is_told_from_a_version(copy: Path) -> None:
    with pytest.raises(InvalidSavedModel, match=rf"but versions that do \(7\): give one of these, such as {copy}"):
        SavedModelFolder.read(copy.parent).require_servable()


def test_a_keras_file_is_told_from_a_saved_model(tmp_path: Path) -> None:
    (tmp_path / "model.keras").touch()
    with pytest.raises(InvalidSavedModel, match=r"but the Keras file model\.keras\. Export it in Python, and give"):
        SavedModelFolder.read(tmp_path).require_servable()


def test_a_model_without_variables_needs_none(tmp_path: Path) -> None:
    import tensorflow as tf

    module = tf.Module()
    module.f = tf.function(lambda x: x + 1, input_signature=[tf.TensorSpec(None, tf.int32, name="x")])
    tf.saved_model.save(module, str(tmp_path), signatures={"add": module.f})
    shutil.rmtree(tmp_path / "variables", ignore_errors=True)
    add = SignatureSpec({"x": TensorSpec("int32", None)}, {"output_0": TensorSpec("int32", None)})
    assert SavedModelFolder.read(tmp_path).require_servable() == {"add": add}


def answering_nan(example: GoldenExample) -> GoldenExample:
    return replace(example, outputs={name: np.full_like(array, np.nan) for name, array in example.outputs.items()})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (lambda all_: all_[1:], "signature 'call' can be served, since it has no golden example"),
        (lambda all_: [*all_, replace(all_[0], signature="gone")], "no signature 'gone', .* only 'call', 'classify'"),
        (lambda all_: [replace(all_[0], inputs={}), *all_], "'call' takes 'inputs', but its golden example gives"),
        (lambda all_: [*all_[1:], answering_nan(all_[0])], "'call' has no answer .*: output 'output_0' holds NaN"),
    ],
    ids=["a signature without example", "a signature renamed", "other inputs", "NaN for an answer"],
)
def test_golden_examples_must_ask_what_the_model_has_and_have_answers(
    exported: "ExportedModel",
    golden: list[GoldenExample],
    changed: Callable[[list[GoldenExample]], list[GoldenExample]],
    message: str,
) -> None:
    with pytest.raises(NotServable, match=message):
        require_golden(SavedModelFolder.read(exported.directory), changed(golden))
    require_golden(SavedModelFolder.read(exported.directory), golden)

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tasks.errors import DeadlineExceeded, InvalidSavedModel, NotServable
from tasks.golden import GoldenExample, read_golden
from tasks.protos import SavedModel
from tasks.records import SignatureSpec, TensorSpec
from tasks.savedmodel import check_servable, read_signatures, require_saved_model

if TYPE_CHECKING:
    from tasks.export import ExportedModel

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
    assert read_signatures(exported.directory) == {
        "call": SignatureSpec({"inputs": IMAGES}, {"output_0": SCORES}),
        "classify": SignatureSpec(
            {"inputs": IMAGES}, {"class": TensorSpec("int64", (None,)), "score": TensorSpec("float32", (None,))}
        ),
        "from_png": SignatureSpec({"image_bytes": TensorSpec("string", (None,))}, {"output_0": SCORES}),
        "serving_default": SignatureSpec({"inputs": IMAGES}, {"output_0": SCORES}),
    }


def test_a_whole_saved_model_is_taken(copy: Path) -> None:
    assert require_saved_model(copy).keys() == {"call", "classify", "from_png", "serving_default"}


def edited(edit: Callable[[SavedModel], None]) -> Callable[[Path], None]:
    def harm(path: Path) -> None:
        saved = SavedModel.FromString((path / "saved_model.pb").read_bytes())
        edit(saved)
        (path / "saved_model.pb").write_bytes(saved.SerializeToString())

    return harm


def cut_off(name: str, kept: int) -> Callable[[Path], None]:
    return lambda path: (path / name).write_bytes((path / name).read_bytes()[:kept])  # type: ignore[func-returns-value]


def of_two_shards(path: Path) -> None:
    data = path / "variables" / "variables.data-00000-of-00001"
    data.rename(data.with_name("variables.data-00000-of-00002"))


HARMED: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (shutil.rmtree, "7 is no folder: give the folder of a SavedModel"),
    "no graph": (lambda p: (p / "saved_model.pb").unlink(), "it holds no saved_model.pb. Write one with model.export"),
    "a cut-off graph": (cut_off("saved_model.pb", 5000), r"saved_model.pb \(5000 bytes\) is cut off or no SavedModel"),
    "an empty graph": (cut_off("saved_model.pb", 0), "no graph tagged 'serve', only none at all"),
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
        require_saved_model(copy)


def test_a_folder_of_versions_is_told_from_a_version(copy: Path) -> None:
    with pytest.raises(InvalidSavedModel, match=rf"but versions that do \(7\): give one of these, such as {copy}"):
        require_saved_model(copy.parent)


def test_a_keras_file_is_told_from_a_saved_model(tmp_path: Path) -> None:
    (tmp_path / "model.keras").touch()
    with pytest.raises(InvalidSavedModel, match=r"but model\.keras: load that with Keras and call model\.export"):
        require_saved_model(tmp_path)


def test_a_model_without_variables_needs_none(tmp_path: Path) -> None:
    import tensorflow as tf

    module = tf.Module()
    module.f = tf.function(lambda x: x + 1, input_signature=[tf.TensorSpec(None, tf.int32, name="x")])
    tf.saved_model.save(module, str(tmp_path), signatures={"add": module.f})
    shutil.rmtree(tmp_path / "variables", ignore_errors=True)
    add = SignatureSpec({"x": TensorSpec("int32", None)}, {"output_0": TensorSpec("int32", None)})
    assert require_saved_model(tmp_path) == {"add": add}


def test_what_was_exported_answers_as_it_was_trained(exported: "ExportedModel", golden: list[GoldenExample]) -> None:
    check_servable(exported.directory, golden)


def test_other_weights_than_the_trained_ones_are_told(exported: "ExportedModel", golden: list[GoldenExample]) -> None:
    first = next(n for n, example in enumerate(golden) if example.signature == "classify")
    score = golden[first].outputs["score"] + np.float32(1e-3)
    golden[first] = replace(golden[first], outputs={**golden[first].outputs, "score": score})
    with pytest.raises(
        NotServable, match=r"signature 'classify' does not answer .* output 'score' differs in 16 of 16"
    ):
        check_servable(exported.directory, golden)


def test_a_keras_model_that_tensorflow_saved_is_refused_with_the_reason(tmp_path: Path) -> None:
    import tensorflow as tf

    from tasks.models import sequential_mlp

    model = sequential_mlp()
    tf.saved_model.save(model, str(tmp_path))
    image = np.zeros((1, 28, 28, 1), np.float32)
    answer = model.predict(image, verbose=0)
    spec = require_saved_model(tmp_path)["serving_default"]
    golden = [GoldenExample("serving_default", dict.fromkeys(spec.inputs, image), dict.fromkeys(spec.outputs, answer))]
    with pytest.raises(
        NotServable, match=r"'serving_default': .*Could not find variable .*export it with model\.export\(folder\)"
    ):
        check_servable(tmp_path, golden)


def test_damaged_weights_are_told(copy: Path, golden: list[GoldenExample]) -> None:
    cut_off("variables/variables.data-00000-of-00001", 1000)(copy)
    with pytest.raises(NotServable, match="7 cannot be loaded: Read less bytes than requested"):
        check_servable(copy, golden)


def test_a_model_that_is_too_slow_is_given_up(exported: "ExportedModel", golden: list[GoldenExample]) -> None:
    with pytest.raises(DeadlineExceeded, match=r"within 0\.05 s: the model is too slow for this machine"):
        check_servable(exported.directory, golden, deadline=0.05)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (lambda all_: all_[1:], "signature 'call' can be served, for it has no golden example"),
        (lambda all_: [*all_, replace(all_[0], signature="gone")], "no signature 'gone', .* only 'call', 'classify'"),
        (lambda all_: [replace(all_[0], inputs={}), *all_], "'call' takes 'inputs', but its golden example gives"),
    ],
    ids=["a signature without example", "a signature renamed", "other inputs"],
)
def test_golden_examples_must_ask_what_the_model_has(
    exported: "ExportedModel",
    golden: list[GoldenExample],
    changed: Callable[[list[GoldenExample]], list[GoldenExample]],
    message: str,
) -> None:
    with pytest.raises(NotServable, match=message):
        check_servable(exported.directory, changed(golden))

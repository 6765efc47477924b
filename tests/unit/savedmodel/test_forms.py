"""SavedModels of the forms that users bring: what is taken, what is cut short, and what is refused with what to do."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.errors import InvalidData, InvalidSavedModel, NotServable
from tasks.records import TensorSpec
from tasks.savedmodel.calls import operations, require_random
from tasks.savedmodel.content import describe_files
from tasks.savedmodel.examples import golden_from_inputs
from tasks.savedmodel.golden import GoldenExample, read_golden
from tasks.savedmodel.messages import Failure
from tasks.savedmodel.prepare import prepare_saved_model
from tasks.savedmodel.read import SavedModelFolder
from tasks.savedmodel.session import Question, ask
from tasks.settings import Settings

# One process of `make test` loads TensorFlow for these tests.
pytestmark = pytest.mark.xdist_group("keras")

DEFAULT = "serving_default"


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.helpers.make_forms import make

    folder = tmp_path_factory.mktemp("forms")
    make(folder)
    return folder


def golden(folder: Path, inputs: Path | None = None) -> dict[str, GoldenExample]:
    return {example.signature: example for example in golden_from_inputs(SavedModelFolder.read(folder), inputs)}


def given(folder: Path, *, signature: str = DEFAULT, **inputs: Any) -> Path:
    """A file with these inputs for one signature."""
    path = folder / "inputs.json"
    path.write_text(json.dumps({"signature_name": signature, "inputs": inputs}))
    return path


@pytest.fixture(scope="module")
def many(forms: Path) -> dict[str, GoldenExample]:
    """What a module with a signature for each form answers to inputs that are made up."""
    return golden(forms / "many")


@pytest.mark.parametrize(
    ("signature", "factor"),
    [
        (DEFAULT, 2),
        ("branches-and-loops", 8),
        ("unknown-rank", 2),
        ("fixed-batch", 2),
        ("default-value", 2),
        ("complex", 2),
        ("bfloat16", 2),
        ("variant", 2),
    ],
)
def test_each_of_these_answers_inputs_that_are_made_up(
    many: dict[str, GoldenExample], signature: str, factor: int
) -> None:
    example = many[signature]
    assert len(example.inputs["x"])
    assert np.array_equal(example.outputs["y"], example.inputs["x"] * example.inputs["x"].dtype.type(factor))


@pytest.mark.parametrize(
    ("name", "signature", "inputs", "outputs"),
    [
        ("keras-2-sequential", DEFAULT, {"input_1": "float32"}, {"dense_1": (2,)}),
        ("keras-2-exported", DEFAULT, {"input_1": "float32"}, {"output_0": (2,)}),
        ("keras-2-mixed", DEFAULT, {"size": "float32", "town": "string"}, {"dense_2": (1,), "dense_3": (3,)}),
    ],
)
def test_what_keras_2_saved_answers_inputs_that_are_made_up(
    forms: Path, name: str, signature: str, inputs: dict[str, str], outputs: dict[str, tuple[int, ...]]
) -> None:
    example = golden(forms / name)[signature]
    found = SavedModelFolder.read(forms / name).signatures[signature]
    assert {input_: spec.dtype for input_, spec in found.inputs.items()} == inputs
    assert {output: answer.shape[1:] for output, answer in example.outputs.items()} == outputs


def test_a_signature_without_inputs_is_asked_too(many: dict[str, GoldenExample]) -> None:
    assert (many["nothing"].inputs, many["nothing"].outputs["y"].tolist()) == ({}, [1])


def test_an_output_that_nobody_can_read_is_left_out_of_the_answers(many: dict[str, GoldenExample]) -> None:
    assert many["variant"].outputs.keys() == {"y"}
    assert many["complex"].outputs.keys() == {"y", "z"}


def test_a_lookup_table_and_an_input_with_a_default_value_answer_what_is_given(forms: Path, tmp_path: Path) -> None:
    path = tmp_path / "inputs.json"
    table = {"signature_name": "table", "inputs": {"text": ["a", "b", "z"]}}
    path.write_text(json.dumps([table, {"signature_name": "default-value", "instances": [{"x": [1, 2, 3]}]}]))
    found = golden(forms / "many", path)
    assert found["table"].outputs["y"].tolist() == [1, 2, -1]
    assert (found["default-value"].inputs["scale"], found["default-value"].outputs["y"].tolist()) == (2, [[2, 4, 6]])


def test_a_model_of_tensorflow_1_answers(forms: Path) -> None:
    example = golden(forms / "first-generation")[DEFAULT]
    assert np.allclose(example.outputs["y"], (example.inputs["x"].sum(1) * example.inputs["keep"])[:, None])


def test_a_shape_that_was_recorded_as_a_scalars_keeps_no_real_input_out(forms: Path, tmp_path: Path) -> None:
    assert SavedModelFolder.read(forms / "no-shape").signatures[DEFAULT].inputs["x"] == TensorSpec("float32", ())
    with pytest.raises(InvalidData, match=r"refuses inputs made up from its spec: .*ndims must be >= 2: 0\. Give real"):
        golden(forms / "no-shape")
    example = golden(forms / "no-shape", given(tmp_path, x=[[1, 2, 3]]))[DEFAULT]
    assert example.outputs["y"].tolist() == [[6, 6]]


def test_what_is_large_or_slow_is_asked_few_rows_but_at_least_one(forms: Path, tmp_path: Path) -> None:
    path, rows = tmp_path / "inputs.json", [[0, 0, 0]] * 16
    path.write_text(json.dumps([{"signature_name": name, "instances": rows} for name in ("masks", "slow")]))
    found = golden(forms / "large", path)
    assert found["images"].inputs["x"].shape == (1, 224, 224, 3)
    masks = len(found["masks"].inputs["x"])
    assert found["masks"].outputs["y"].shape == (masks, 400, 400)
    assert 1 < masks < 10  # each mask takes 800,000 bytes of JSON
    assert 1 <= len(found["slow"].inputs["x"]) < 16


@pytest.mark.parametrize(
    ("name", "why", "request_"),
    [
        ("image-bytes", "Unknown image file format", '{"image": [{"b64": "…"}]}'),
        ("tf-example", "Could not parse example input", '{"examples": [{"b64": "…"}]}'),
        ("sparse", "outside of bounds", '{"s": […], "s_1": […], "s_2": […]}'),
    ],
)
def test_where_made_up_inputs_cannot_work_one_line_says_how_to_give_real_ones(
    forms: Path, name: str, why: str, request_: str
) -> None:
    with pytest.raises(InvalidData) as refused:
        golden(forms / name)
    message = str(refused.value)
    assert f"signature '{DEFAULT}' refuses inputs made up from its spec: " in message
    assert why in message
    assert f'--inputs FILE: a .json such as {{"signature_name": "{DEFAULT}", "inputs": {request_}}}' in message
    assert "\n" not in message


def test_a_signature_that_answers_nan_to_made_up_inputs_may_lack_real_ones(forms: Path, tmp_path: Path) -> None:
    with pytest.raises(NotServable, match=r"'serving_default' .* 'y' holds NaN\. .* as a logarithm's\. Give real ones"):
        golden(forms / "logarithm")
    assert golden(forms / "logarithm", given(tmp_path, x=[[6, 6, 6]]))[DEFAULT].outputs["y"].tolist() == [[0, 0, 0]]


def test_sparse_inputs_are_given_in_their_parts(forms: Path, tmp_path: Path) -> None:
    parts = {"s": [[0, 1], [0, 4]], "s_1": [2.0, 3.0], "s_2": [1, 5]}
    names = sorted(SavedModelFolder.read(forms / "sparse").signatures[DEFAULT].inputs.items())
    by_dtype = {("int64", 2): parts["s"], ("float32", 1): parts["s_1"], ("int64", 1): parts["s_2"]}
    values: dict[str, Any] = {name: by_dtype[spec.dtype, len(spec.shape or ())] for name, spec in names}
    assert golden(forms / "sparse", given(tmp_path, **values))[DEFAULT].outputs["y"].tolist() == [5]


@pytest.mark.parametrize(
    ("signature", "why"),
    [
        ("length", r"input 'v' \(variant\) cannot be sent"),
        ("list", r"it gives nothing that a client can read, only 'v' \(variant\)"),
        ("words", "output 'y' is not one tensor, but sparse or ragged"),
    ],
)
def test_a_signature_that_nobody_can_ask_is_refused_by_name(forms: Path, signature: str, why: str) -> None:
    read = SavedModelFolder.read(forms / "partly-unaskable").keeping([DEFAULT, signature])
    with pytest.raises(InvalidSavedModel, match=rf"'{signature}' can be asked over neither .*: {why}\. .*--sig"):
        read.require_servable()


def test_a_build_keeps_the_signatures_that_are_named_and_the_users_folder_stays(forms: Path, tmp_path: Path) -> None:
    folder = forms / "partly-unaskable"
    before = describe_files(folder)
    build = prepare_saved_model(Settings(home=tmp_path), "M", str(folder), None, "run", signatures=[DEFAULT])
    directory = Path(build.directory)
    assert build.signatures.keys() == SavedModelFolder.read(directory).signatures.keys() == {DEFAULT}
    assert [example.signature for example in read_golden(directory / str(build.golden))] == [DEFAULT]
    (answer,) = ask(directory, [Question(DEFAULT, {"x": np.ones((1, 3), np.float32)})])
    assert not isinstance(answer, Failure)
    assert answer["y"].tolist() == [[2, 2, 2]]
    assert describe_files(folder) == before
    assert not (directory / "fingerprint.pb").exists()


def test_a_model_all_of_whose_signatures_are_named_stays_as_it_is(forms: Path, tmp_path: Path) -> None:
    folder, mine = forms / "sampling", Settings(home=tmp_path)
    build = prepare_saved_model(mine, "M", str(folder), None, "run", signatures=[DEFAULT])
    assert (Path(build.directory) / "saved_model.pb").read_bytes() == (folder / "saved_model.pb").read_bytes()
    with pytest.raises(InvalidSavedModel, match="has no signature 'five', only 'serving_default'"):
        prepare_saved_model(mine, "M", str(folder), None, "run", signatures=["five"])


def test_what_is_drawn_at_random_is_told_from_state_that_a_call_changes(forms: Path) -> None:
    sampling, counting = (SavedModelFolder.read(forms / name) for name in ("sampling", "counting"))
    assert "RandomStandardNormal" in operations(sampling, DEFAULT)
    require_random(sampling, {"s": "shape"})
    require_random(counting, {"other": "shape"})
    with pytest.raises(NotServable, match=r"'serving_default' draws nothing at random, but assigns .* take 'y' out"):
        require_random(counting, {"y": "shape"})


def test_an_input_that_keras_numbered_is_taken_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    import keras

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.export(tmp_path / "exported", verbose=False)
    build = prepare_saved_model(Settings(home=tmp_path), "M", str(tmp_path / "exported"), None, "run")
    (name,) = build.signatures[DEFAULT].inputs
    assert f"Keras itself numbered input {name!r} of signature '{DEFAULT}'" in caplog.text
    assert 'keras.Input(…, name="…")' in caplog.text


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_a_keras_file_is_refused_with_the_line_that_exports_it(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"PK")
    export = rf'keras\.models\.load_model\("{tmp_path / name}"\)\.export\("{tmp_path}/model-export"\)'
    with pytest.raises(InvalidSavedModel, match=rf"is a Keras file, not a SavedModel\. .*: {export}"):
        prepare_saved_model(Settings(home=tmp_path), "M", str(tmp_path / name), None, "run")
    with pytest.raises(InvalidSavedModel, match=rf"but the Keras file {name}\. .*: {export}"):
        SavedModelFolder.read(tmp_path)

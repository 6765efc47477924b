import base64
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.errors import InvalidData, InvalidInput, NotServable
from tasks.records import SignatureSpec, TensorSpec
from tasks.savedmodel.examples import golden_from_inputs, golden_rows, inputs_from_file, inputs_from_spec
from tasks.savedmodel.read import SavedModelFolder

# One process of `make test` loads TensorFlow for these tests.
pytestmark = pytest.mark.xdist_group("keras")

SIGNATURES = {
    "serving_default": SignatureSpec({"x": TensorSpec("float32", (None, 2))}, {}),
    "two": SignatureSpec({"a": TensorSpec("int32", (None,)), "b": TensorSpec("string", (None,))}, {}),
    "fixed": SignatureSpec({"x": TensorSpec("float32", (1, 2))}, {}),
    "small": SignatureSpec({"x": TensorSpec("uint8", None)}, {}),
}


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel that Slipway did not make."""
    import tensorflow as tf

    class Elsewhere(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = tf.Variable(2.0)

        @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
        def double(self, x):  # type: ignore[no-untyped-def]
            return {"y": x * self.weight}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="png")])
        def size(self, png):  # type: ignore[no-untyped-def]
            return {"size": tf.map_fn(lambda p: tf.size(tf.io.decode_png(p)), png, fn_output_signature=tf.int32)}

    path = tmp_path_factory.mktemp("elsewhere") / "1"
    module = Elsewhere()
    tf.saved_model.save(module, str(path), signatures={"double": module.double, "size": module.size})
    return path


def png() -> str:
    import tensorflow as tf

    return base64.b64encode(tf.io.encode_png(np.zeros((4, 5, 1), np.uint8)).numpy()).decode()


def test_golden_examples_are_what_the_model_answers_to_given_and_made_up_inputs(
    elsewhere: Path, tmp_path: Path
) -> None:
    (tmp_path / "in.json").write_text(json.dumps({"signature_name": "size", "instances": [{"b64": png()}] * 2}))
    size, double = golden_from_inputs(SavedModelFolder.read(elsewhere), tmp_path / "in.json")
    assert (size.signature, size.outputs["size"].tolist()) == ("size", [20, 20])
    assert double.signature == "double"
    assert double.inputs["x"].shape == (4, 2)
    assert np.array_equal(double.outputs["y"], double.inputs["x"] * 2)


def test_a_signature_that_refuses_made_up_inputs_asks_for_real_ones(elsewhere: Path) -> None:
    with pytest.raises(InvalidData, match=r"'size' refuses inputs made up from its spec: .* Give real ones \(--inputs"):
        golden_from_inputs(SavedModelFolder.read(elsewhere))


def test_a_model_that_fails_for_its_own_sake_is_not_servable(tmp_path: Path) -> None:
    import tensorflow as tf

    from tasks.models import sequential_mlp

    tf.saved_model.save(sequential_mlp(), str(tmp_path / "1"))
    with pytest.raises(NotServable, match=r"could not answer signature .* Could not find variable"):
        golden_from_inputs(SavedModelFolder.read(tmp_path / "1"))


def test_made_up_inputs_fit_the_signature_and_are_always_the_same() -> None:
    spec = SignatureSpec(
        {
            "image": TensorSpec("float32", (None, None, 3)),
            "token": TensorSpec("int64", (None, 7)),
            "text": TensorSpec("string", (None,)),
            "flag": TensorSpec("bool", ()),
            "any": TensorSpec("bfloat16", None),
        },
        {},
    )
    made = inputs_from_spec("s", spec)
    assert {name: array.shape for name, array in made.items()} == {
        "image": (4, 32, 3), "token": (4, 7), "text": (4,), "flag": (), "any": (4,),
    }  # fmt: skip
    assert {name: array.dtype.name for name, array in made.items()} == {
        "image": "float32", "token": "int64", "text": "object", "flag": "bool", "any": "bfloat16",
    }  # fmt: skip
    assert all(isinstance(text, bytes) for text in made["text"])
    assert 0 <= made["token"].min() <= made["token"].max() <= 9
    again, other, of_another = inputs_from_spec("s", spec), inputs_from_spec("s", spec, 1), inputs_from_spec("t", spec)
    assert np.array_equal(made["image"], again["image"])
    assert not np.array_equal(made["image"], other["image"])
    assert not np.array_equal(made["image"], of_another["image"])


def test_large_inputs_are_made_up_in_few_rows() -> None:
    shapes = {side: TensorSpec("float32", (None, side, side, 3)) for side in (32, 192, 2048)}
    made = {side: inputs_from_spec("s", SignatureSpec({"x": spec}, {}))["x"].shape for side, spec in shapes.items()}
    assert made == {32: (4, 32, 32, 3), 192: (1, 192, 192, 3), 2048: (1, 2048, 2048, 3)}


def test_a_golden_example_has_as_many_rows_as_fit_into_a_rest_body_and_at_least_one() -> None:
    assert golden_rows({"x": np.zeros((100, 2)), "text": np.full((100,), b"a", object)}) == 16
    assert golden_rows({"x": np.zeros((3, 2))}) == 3
    assert golden_rows({"x": np.full((16, 224, 224, 3), 0.1, np.float32)}) == 1
    assert golden_rows({"x": np.full((16, 100, 100, 3), 0.1, np.float32)}) == 6
    assert golden_rows({"x": np.zeros((16, 2)), "file": np.full((16,), b"x" * 10**6, object)}) == 3


def test_inputs_that_cannot_be_sent_are_not_made_up() -> None:
    with pytest.raises(InvalidInput, match="'resource' cannot be sent"):
        inputs_from_spec("s", SignatureSpec({"x": TensorSpec("resource", ())}, {}))


def asked(path: Path) -> dict[str, dict[str, Any]]:
    questions = inputs_from_file(path, SIGNATURES)
    return {q.signature: {name: array.tolist() for name, array in q.inputs.items()} for q in questions}


ROWS = {"a": 1, "b": {"b64": base64.b64encode(b"\xff").decode()}}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"instances": [[1, 2]]}, {"serving_default": {"x": [[1, 2]]}}),
        ({"instances": [{"x": [1, 2.5]}]}, {"serving_default": {"x": [[1, 2.5]]}}),
        ({"inputs": [[1, 2]]}, {"serving_default": {"x": [[1, 2]]}}),
        ({"inputs": {"x": [[1, 2]]}, "signature_name": "fixed"}, {"fixed": {"x": [[1, 2]]}}),
        (
            [{"signature_name": "two", "instances": [ROWS, {"a": 2, "b": "é"}]}, {"instances": [[3, 4]]}],
            {"two": {"a": [1, 2], "b": [b"\xff", "é".encode()]}, "serving_default": {"x": [[3, 4]]}},
        ),
        ({"signature_name": "two", "inputs": {"a": [1], "b": ["x"]}}, {"two": {"a": [1], "b": [b"x"]}}),
        ({"signature_name": "small", "inputs": 255}, {"small": {"x": 255}}),
        ({"instances": [[n, n] for n in range(40)]}, {"serving_default": {"x": [[n, n] for n in range(16)]}}),
    ],
)
def test_requests_as_the_rest_api_takes_them_are_read(tmp_path: Path, content: Any, expected: Any) -> None:
    (tmp_path / "in.json").write_text(json.dumps(content))
    assert asked(tmp_path / "in.json") == expected


def test_arrays_are_read_by_signature_and_input(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "in.npz",
        allow_pickle=False,
        **{"two/a": np.array([1]), "two/b": np.array(["é"]), "x": np.ones((1, 2))},
    )
    expected = {"two": {"a": [1], "b": ["é".encode()]}, "serving_default": {"x": [[1, 1]]}, "fixed": {"x": [[1, 1]]}}
    alone = {name: spec for name, spec in SIGNATURES.items() if name != "small"}
    questions = inputs_from_file(tmp_path / "in.npz", alone)
    found = {q.signature: {name: array.tolist() for name, array in q.inputs.items()} for q in questions}
    assert found == expected
    assert all(q.inputs["x"].dtype == np.float32 for q in questions if "x" in q.inputs)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ('"text"', "either 'instances' or 'inputs'"),
        ('{"instances": [[1, 2]], "inputs": 1}', "either 'instances' or 'inputs'"),
        ('{"instances": []}', "must be a list of at least one example"),
        ('{"instances": 5}', "must be a list of at least one example"),
        ('{"signature_name": "gone", "instances": [1]}', "asks signature 'gone', but there is only 'serving_default'"),
        ('{"instances": [[1, 2, 3]]}', r"input 'x': found shape \[1, 3\], expected \['any', 2\]"),
        ('{"instances": [[1, 2], [3]]}', "input 'x': .*inhomogeneous"),
        ('{"instances": [["a", "b"]]}', "input 'x': found <U1 values, expected float32"),
        ('{"instances": [[1, null]]}', "input 'x': found object values, expected float32"),
        ('{"instances": [{"y": 1}]}', "expected the inputs x, found y"),
        ('{"signature_name": "two", "instances": [{"a": 1, "b": "x"}, {"a": 1}]}', "do not all name the same inputs"),
        (
            '{"signature_name": "two", "inputs": {"a": [1.5], "b": ["x"]}}',
            "input 'a': found float64 values, expected int32",
        ),
        ('{"signature_name": "two", "inputs": {"a": [1], "b": [1]}}', r"input 'b': found 1, expected strings"),
        ('{"signature_name": "two", "inputs": {"a": [1], "b": [{"b64": "?"}]}}', "input 'b': .*base64"),
        ('{"signature_name": "two", "inputs": {"a": [1], "b": [{"c": 1}]}}', "input 'b': .*found an object"),
        ('{"signature_name": "small", "inputs": [256]}', "input 'x': found whole numbers that uint8 cannot hold"),
    ],
)
def test_requests_that_do_not_fit_are_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "in.json").write_text(content)
    with pytest.raises(InvalidData, match=message):
        inputs_from_file(tmp_path / "in.json", SIGNATURES)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"gone/x": np.ones(1)}, "asks signature 'gone'"),
        ({"z": np.ones(1)}, "no signature takes just the inputs z: 'serving_default' takes x; 'two' takes a, b"),
        ({"two/a": np.ones(1, np.int32)}, "expected the inputs a, b, found a"),
        ({"x": np.array([object()])}, "made of Python objects"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "in.npz", **arrays)
    with pytest.raises(InvalidData, match=message):
        inputs_from_file(tmp_path / "in.npz", SIGNATURES)


def test_files_of_other_kinds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match=r"No inputs at .*in\.json"):
        inputs_from_file(tmp_path / "in.json", SIGNATURES)
    (tmp_path / "in.csv").touch()
    with pytest.raises(InvalidData, match=r"in\.csv' cannot be read: give a \.json"):
        inputs_from_file(tmp_path / "in.csv", SIGNATURES)


def test_the_saved_model_itself_is_checked_first(elsewhere: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(elsewhere, tmp_path / "1"))
    (copy / "saved_model.pb").unlink()
    with pytest.raises(InvalidInput, match=r"holds no saved_model\.pb"):
        golden_from_inputs(SavedModelFolder.read(copy))

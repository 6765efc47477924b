import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from slipway_entry import ROOT
from tasks.errors import InvalidModel
from tasks.training.methods import LoadedModel, exported_methods
from tasks.training.modules import HERE, code_version, function_of, require_visible
from tasks.training.recipe import TrainingData, load_recipe, make_model

# One process of `make test` loads TensorFlow for these tests.
pytestmark = pytest.mark.xdist_group("keras")

Write = Callable[[str, str], str]

MODELS = """
import keras
import tensorflow as tf

not_callable = 3
ones = [tf.TensorSpec([None, 2], tf.float32, name="x")]

class Pair(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(1)
        self.dense.build((None, 2))
        self.built = True
    def call(self, x):
        return self.dense(x)
    @tf.function(input_signature=[*ones, tf.TensorSpec([], tf.float32)])
    def times(self, x, factor):
        return self.dense(x) * factor
    @tf.function(input_signature=ones)
    def plain(self, x):
        return self.dense(x)

class Bare(keras.Model):
    def call(self, x):
        return x

def pair(): return Pair()
def bare(): return Bare()
def sequential(): return keras.Sequential([keras.Input((2,), name="x"), keras.layers.Dense(1)])
def shapeless(): return keras.Sequential([keras.layers.Dense(1)])
def functional():
    a, b = keras.Input((2,), name="a"), keras.Input((3,), name="b")
    return keras.Model({"b": b, "a": a}, keras.layers.Concatenate()([a, b]))
def unnamed(): return keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
def half_named():
    a, b, c = keras.Input((2,)), keras.Input((3,), name="words"), keras.Input((1,))
    return keras.Model([a, b, c], keras.layers.Concatenate()([a, b, c]))
def by_key():
    a, b = keras.Input((2,)), keras.Input((3,), name="own")
    return keras.Model({"b": b, "a": a}, keras.layers.Concatenate()([a, b]))
def nothing(): pass
def number(): return 5
def fails(): raise RuntimeError("out of luck\\nsecond line")
def _private(): pass
"""


@pytest.fixture
def models(user_module: Write) -> str:
    return user_module("my_models", MODELS)


def load_model(spec: str, signatures: dict[str, str] | None = None, project: Path = HERE) -> LoadedModel:
    model = make_model(load_recipe(spec, project), TrainingData({}, {}), {})
    return exported_methods(spec, model, signatures)


def inputs_by_signature(model: LoadedModel) -> dict[str, tuple[str, ...]]:
    return {method.signature: method.inputs for method in model.methods}


def test_methods_with_an_input_signature_become_signatures_of_their_own_name(models: str) -> None:
    assert inputs_by_signature(load_model(f"{models}:pair")) == {"times": ("x", "factor"), "plain": ("x",)}


def test_a_mapping_names_the_signatures(models: str) -> None:
    loaded = load_model(f"{models}:pair", {"serving_default": "plain", "scaled": "times"})
    assert inputs_by_signature(loaded) == {"serving_default": ("x",), "scaled": ("x", "factor")}


def test_a_model_whose_inputs_are_known_is_served_by_default(models: str) -> None:
    assert inputs_by_signature(load_model(f"{models}:sequential")) == {"serving_default": ("x",)}
    loaded = load_model(f"{models}:functional", {"both": "call"})
    assert inputs_by_signature(loaded) == {"both": ("a", "b")} or inputs_by_signature(loaded) == {"both": ("b", "a")}


def test_a_functional_model_takes_its_inputs_by_name(models: str) -> None:
    import tensorflow as tf

    (method,) = load_model(f"{models}:functional").methods
    values = {"a": tf.constant([[1.0, 2.0]]), "b": tf.constant([[3.0, 4.0, 5.0]])}
    assert method.function(*[values[name] for name in method.inputs]).numpy().tolist() == [[1, 2, 3, 4, 5]]


@pytest.mark.parametrize(
    ("factory", "names"),
    [
        ("unnamed", ("inputs",)),
        ("half_named", ("input_1", "words", "input_3")),
        ("by_key", ("a", "own")),
    ],
)
def test_an_input_without_a_name_is_called_the_same_however_many_models_were_made_before(
    models: str, factory: str, names: tuple[str, ...]
) -> None:
    first, second = (load_model(f"{models}:{factory}").methods[0] for _ in range(2))
    assert first.inputs == second.inputs == names
    assert [spec.name for spec in second.function.input_signature] == list(names)


@pytest.mark.parametrize(
    ("factory", "signatures", "message"),
    [
        ("nothing", None, "returned None, expected a Keras model"),
        ("number", None, "returned an object of type int, expected a Keras model"),
        ("fails", None, r"failed: RuntimeError: out of luck\.$"),
        ("absent", None, "has no function 'absent'; its functions are: pair, bare, sequential"),
        ("not_callable", None, "is an object of type int, which cannot be called"),
        ("bare", None, "has nothing to serve: no method has an input spec"),
        ("shapeless", None, "let a Sequential begin with keras.Input"),
        ("pair", {"a": "absent"}, "names the method 'absent', which Pair does not have; .* 'times', 'plain'"),
        ("pair", {"a": "dense_units"}, "names the method 'dense_units', which Pair does not have"),
        ("pair", {"a": "call"}, "names the method 'call' of Pair, which has no input spec"),
        ("sequential", {"a": "summary"}, "'summary' of Sequential, which has no input spec"),
    ],
)
def test_what_cannot_be_served_is_refused(
    models: str, factory: str, signatures: dict[str, str] | None, message: str
) -> None:
    with pytest.raises(InvalidModel, match=message):
        load_model(f"{models}:{factory}", signatures)


def test_a_factory_that_is_not_in_the_project_is_refused_with_the_setting_that_names_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InvalidModel, match=r"installed or in [^ ]*\?$"):
        load_model("no_such_module:f")
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(InvalidModel, match=rf"in {tmp_path}, which SLIPWAY_PROJECT names\? .*`slipway up`"):
        load_model("no_such_module:f", project=tmp_path)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("no name", "names neither a recipe, package.module such as shop.prices, nor a factory"),
        ("models:", "names neither"),
        ("models.py:mlp()", "names neither"),
        ("no_such_module:f", "no module 'no_such_module' for factory"),
        ("no_such_module", "no module 'no_such_module' for recipe 'no_such_module'"),
        ("tasks.no_such_module:f", r"no module 'tasks\.no_such_module' for factory"),
        ("tasks.models.deeper:f", "no module|cannot be imported"),
    ],
)
def test_a_module_that_does_not_exist_is_refused(spec: str, message: str) -> None:
    for refused in (load_model, code_version):  # imported, or only looked for
        with pytest.raises(InvalidModel, match=message):
            refused(spec)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import no_such_library", "cannot be imported: ModuleNotFoundError: No module named 'no_such_library'"),
        ("def f(:", "cannot be imported: SyntaxError"),
        ("1 / 0", "cannot be imported: ZeroDivisionError: division by zero"),
    ],
)
def test_a_module_that_fails_says_why(user_module: Write, source: str, message: str) -> None:
    with pytest.raises(InvalidModel, match=message):
        load_model(f"{user_module('broken', source)}:f")


@pytest.mark.parametrize(
    ("file", "spec"),
    [
        ("tasks/digits.py", "tasks.digits:make"),
        ("tasks/models.py", "tasks.models:mlp"),
        ("tasks/models/digits.py", "tasks.models:mlp"),
        ("tasks.py", "tasks:make"),
        ("flows/digits/__init__.py", "flows.digits:make"),
        ("infra/digits.py", "infra.digits:make"),
        ("tests/digits.py", "tests.digits:make"),
    ],
)
def test_a_factory_that_one_of_slipways_own_packages_hides_is_refused(
    user_module: Write, tmp_path: Path, file: str, spec: str
) -> None:
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text("def make(): pass\ndef mlp(): pass\n")
    package = spec.partition(":")[0].partition(".")[0]
    with pytest.raises(
        InvalidModel, match=rf"'{spec}' .* {tmp_path}/{package}.* a package '{package}', .* my_{package}"
    ):
        require_visible(spec, HERE)
    if "models" not in spec:
        with pytest.raises(InvalidModel):
            load_model(spec)


def test_a_factory_that_needs_what_slipways_packages_hide_is_refused(user_module: Write, tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "layers.py").write_text("")
    for line in ("import tasks.layers", "from tasks.layers import Dense"):
        with pytest.raises(InvalidModel, match=rf"'shop:make' needs {tmp_path}/tasks/layers\.py, .*my_tasks"):
            load_model(f"{user_module('shop', line)}:make")


def test_a_package_of_the_users_hides_no_factory_that_it_does_not_hold(user_module: Write, tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    require_visible("tasks.models:mlp", HERE)
    require_visible(f"{user_module('shop', '')}:make", HERE)


def test_the_code_version_follows_the_source_and_nothing_else(user_module: Write, tmp_path: Path) -> None:
    def version(name: str) -> str:
        program = f"from tasks.training.modules import code_version; print(code_version('{name}:f'))"
        return subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
        ).stdout.strip()

    first = version(user_module("mine", "def f(): return 1"))
    assert first.startswith("sha256:")
    assert len(first) == 71
    assert version("mine") == first
    assert version(user_module("mine", "def f(): return 2")) != first

    (tmp_path / "package").mkdir()
    user_module("package/__init__", "")
    user_module("package/models", "def f(): pass")
    user_module("package/layers", "units = 1")
    whole = version("package.models")
    user_module("package/layers", "units = 2")
    assert version("package.models") != whole, "what lies beside the factory belongs to it"


def test_the_whole_package_of_a_recipe_is_part_of_its_code_and_none_of_it_is_run(
    user_module: Write, tmp_path: Path
) -> None:
    (tmp_path / "shop" / "models").mkdir(parents=True)
    user_module("shop/__init__", "raise AssertionError('imported')")
    user_module("shop/layers", "units = 1")
    user_module("shop/models/__init__", "")
    user_module("shop/models/prices", "def make(data): pass")
    whole = code_version("shop.models.prices")
    assert code_version("shop.models.prices:make") == whole
    user_module("shop/layers", "units = 2")
    assert code_version("shop.models.prices") != whole


def test_the_code_version_of_a_built_in_model_follows_what_makes_its_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = Path.read_bytes
    read: list[str] = []

    def recorded(path: Path) -> bytes:
        read.append(path.relative_to(ROOT).as_posix())
        return whole(path)

    monkeypatch.setattr(Path, "read_bytes", recorded)
    version = code_version("tasks.models:mlp")
    assert {file.rpartition("/")[0] for file in read} == {"tasks", "tasks/data", "tasks/training"}
    assert "tasks/models.py" in read
    assert "tasks/limits.py" not in read
    assert code_version("tasks.models:sequential_mlp") == version


@pytest.mark.parametrize(("name", "value"), [("KERAS_BACKEND", "jax"), ("TF_USE_LEGACY_KERAS", "1")])
def test_another_keras_of_the_environment_is_ignored(
    name: str, value: str, models: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(name, value)
    load_model(f"{models}:sequential")
    assert (os.environ["KERAS_BACKEND"], os.environ["TF_USE_LEGACY_KERAS"]) == ("tensorflow", "0")
    assert ("KERAS_BACKEND=jax is ignored" in caplog.text) == (name == "KERAS_BACKEND")


def test_a_keras_loaded_with_another_backend_is_refused_and_the_variable_named(
    models: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keras.backend.backend", lambda: "jax")
    with pytest.raises(InvalidModel, match=r"Keras was loaded with jax .* KERAS_BACKEND"):
        load_model(f"{models}:sequential")


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("def load(source): pass", "shop.prices:load"),
        ("from elsewhere.files import load", "elsewhere.files:load"),
        ("from elsewhere import read as load", "elsewhere:read"),
        ("from .files import load", "shop.files:load"),
        ("from . import files\nload = files.read", "shop.prices:load"),
    ],
)
def test_a_function_that_a_recipe_has_from_another_module_is_called_there(
    user_module: Write, tmp_path: Path, line: str, found: str
) -> None:
    (tmp_path / "shop").mkdir()
    user_module("shop/__init__", "")
    user_module("shop/prices", f"{line}\ndef make(data): pass\n")
    assert function_of("shop.prices", "load") == found

"""A recipe's parts: which are used, and what is said of one that is not what it should be."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tasks.errors import InvalidInput, InvalidModel
from tasks.policy import MetricRule
from tasks.training.modules import defines
from tasks.training.recipe import TrainingData, checked_settings, fit, higher, load_recipe, lower, make_model

# One process of `make test` loads TensorFlow for these tests.
pytestmark = pytest.mark.xdist_group("keras")

Write = Callable[[str, str], str]

WHOLE = """
import keras
from tasks.training.recipe import lower

def make(data, units: int = 4, rate: float = 0.5, *, names: list[str] | None = None, free=None):
    return keras.Sequential([keras.Input(data.shapes["x"]), keras.layers.Dense(units)])
def other(): return keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
def load(source): return source
def fit(model, data, epochs, callbacks): pass
def score(labels, answers): return {"mae": 1.0}
GATE = {"mae": lower(by=0.5, at_most=60)}
SIGNATURES = {"predict": "call"}
"""
ALONE = "def build(): pass\ndef load(path): raise AssertionError('no part of a recipe')\n"
DATA = TrainingData({"x": np.zeros((3, 2), np.float32), "word": np.array(["a", "b", "c"])}, {"y": np.array([2, 0, 2])})


def test_a_recipe_is_a_module_whose_functions_take_the_place_of_the_defaults(user_module: Write) -> None:
    recipe = load_recipe(user_module("whole", WHOLE))
    assert (recipe.make.__name__, recipe.fit is fit) == ("make", False)
    assert recipe.load is not None
    assert recipe.score is not None
    assert recipe.gate == {"mae": MetricRule("lower", 0.5, 60)}
    assert recipe.signatures == {"predict": "call"}


def test_only_make_is_a_must(user_module: Write) -> None:
    recipe = load_recipe(user_module("least", "def make(data): pass"))
    assert recipe.fit is fit
    assert (recipe.load, recipe.score, recipe.slices, recipe.gate, recipe.signatures) == (None,) * 5


def test_another_function_of_a_recipe_makes_another_model_by_the_same_recipe(user_module: Write) -> None:
    recipe = load_recipe(f"{user_module('whole', WHOLE)}:other")
    assert recipe.make.__name__ == "other"
    assert recipe.score is not None


def test_of_a_module_that_is_no_recipe_a_factory_alone_is_used(user_module: Write) -> None:
    recipe = load_recipe(f"{user_module('alone', ALONE)}:build")
    assert (recipe.make.__name__, recipe.load) == ("build", None)
    assert not defines("alone", "make")
    assert defines("alone", "load")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def build(): pass", r"'broken' has no function 'make'; its functions are: build\."),
        ("make = 3", "make is an object of type int, which cannot be called"),
        ("def make(): pass\nscore = 'mae'", "score is an object of type str"),
        ("def make(): pass\nGATE = {}", "GATE is empty"),
        ("def make(): pass\nGATE = 0.9", r"GATE is not rules .* GATE = \{"),
        ("def make(): pass\nGATE = {'mae': 3}", r"GATE is not rules by the name of a figure \(mae"),
        ("def make(): pass\nSIGNATURES = ['call']", "SIGNATURES is not names to methods"),
    ],
)
def test_a_part_that_is_not_what_it_should_be_is_named(user_module: Write, source: str, message: str) -> None:
    with pytest.raises(InvalidModel, match=message):
        load_recipe(user_module("broken", source))


def test_settings_are_converted_to_the_types_that_make_names(user_module: Write) -> None:
    recipe = load_recipe(user_module("whole", WHOLE))
    given: dict[str, Any] = {"units": "8", "rate": 1, "names": ["a"], "free": {"any": 1}}
    assert checked_settings(recipe, given) == {"units": 8, "rate": 1.0, "names": ["a"], "free": {"any": 1}}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("unit", 8, "has no setting 'unit'; its settings are: units: int = 4, rate: float = 0.5"),
        ("data", 8, "has no setting 'data'"),
        ("units", "many", r"units = \"many\" cannot be: Input should be a valid integer.* it takes units: int = 4"),
        ("units", 1.5, r"units = 1\.5 cannot be"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(user_module: Write, name: str, value: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        checked_settings(load_recipe(user_module("whole", WHOLE)), {name: value})


def test_make_sees_the_data_and_its_settings(user_module: Write) -> None:
    whole = user_module("whole", WHOLE)
    assert make_model(load_recipe(whole), DATA, {"units": 7}).output_shape == (None, 7)
    assert make_model(load_recipe(f"{whole}:other"), DATA, {}).output_shape == (None, 1)
    assert DATA.names == ("x", "word")
    assert DATA.dtypes == {"x": "float32", "word": "string"}
    assert DATA.shapes == {"x": (2,), "word": ()}
    assert DATA.classes == ("0", "2")


def test_rules_say_which_way_is_better() -> None:
    assert lower(by=2, at_most=9) == MetricRule("lower", 2, 9)
    assert higher(at_least=0.8) == MetricRule("higher", 0, 0.8)

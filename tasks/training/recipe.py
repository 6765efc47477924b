"""A recipe: the user's module of plain functions from which a model is made, trained and scored.

# shop/prices.py         slipway release Prices --recipe shop.prices --data prices.parquet --label price
def make(data, units: int = 32): ...          # a compiled Keras model: all that a recipe must have
def load(source): ...                         # labelled examples; by default what `tasks.data.sources` reads
def fit(model, data, epochs, callbacks): ...  # by default `fit` below
def score(labels, answers): ...               # {"mae": 41.2}; by default figures by the kind of labels
def slices(features): ...                     # {"region": [N]}: rows that are scored apart, too
GATE = {"mae": lower(by=0.5, at_most=60)}     # which figures decide; by default those of the policy
SIGNATURES = {"predict": "call"}              # names to methods; by default all with an input signature
"""

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, get_type_hints

import numpy as np
from pydantic import TypeAdapter, ValidationError

from tasks.errors import InvalidInput, InvalidModel, SlipwayError
from tasks.policy import MetricRule
from tasks.training.modules import HERE, error_text, import_module, named, type_phrase
from tasks.wire.dtypes import Array

BATCH_SIZE = 64
MAKE = "make"


@dataclass(frozen=True, eq=False)
class TrainingData:
    """What `make` may know of the data: the rows that the model will learn, never the held-out ones.

    Data larger than memory are mapped from files, read-only: preprocessing layers adapt() on some of the rows, such as
    `data.features["x"][:100_000]`, which are a fair sample (unless the split is by time).
    """

    features: Mapping[str, Array]  # each [N, …], as they were given: what preprocessing layers adapt() on
    labels: Mapping[str, Array]  # each [N] or [N, columns]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the features."""
        return tuple(self.features)

    @property
    def dtypes(self) -> dict[str, str]:
        """NumPy's name of each feature's dtype, `string` for texts."""
        return {n: "string" if a.dtype.kind in "OSU" else a.dtype.name for n, a in self.features.items()}

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of one example of each feature."""
        return {name: array.shape[1:] for name, array in self.features.items()}

    @property
    def classes(self) -> tuple[str, ...]:
        """The values of the only label, sorted, as the classes of a classifier are called and numbered."""
        if len(self.labels) != 1:
            raise InvalidInput(f"The data has the labels {', '.join(self.labels)}: ask `data.labels` for each.")
        (label,) = self.labels.values()
        return tuple(map(str, np.unique(label)))


@dataclass(frozen=True, eq=False)
class FitData:
    """What `fit` trains on, in the form that Keras takes: features as the model's inputs, classes as numbers.

    From 256 MB of inputs on, or if there are weights and several labels, `x` is a `tf.data.Dataset` of shuffled batches
    of `(x, y)` or `(x, y, sample_weight)`; `y` and `sample_weight` are then None. Keras takes either form in the same
    call.
    """

    x: Any  # arrays in the structure of the model's inputs, or a dataset
    y: Any
    sample_weight: Array | None
    validation: Any  # as `validation_data` takes it: a tuple, or likewise a dataset


class Make(Protocol):
    """Makes the model; a factory without parameters will do. Keyword arguments are the run's settings."""

    def __call__(self, data: TrainingData, /, **settings: Any) -> Any:
        """A Keras model. One that is not compiled is compiled with Adam and the loss that goes with its labels."""


class Load(Protocol):
    """Gives the labelled examples that a source names."""

    def __call__(self, source: str, /) -> Any:
        """What `tasks.data.sources.labelled` takes: features and labels, or the examples that it returns."""


class Fit(Protocol):
    """Trains the model, with early stopping, class weights or whatever it needs."""

    def __call__(self, model: Any, data: FitData, epochs: int, callbacks: Sequence[Any], /) -> object:
        """Must hand on `callbacks`, by which Slipway follows the training."""


class Score(Protocol):
    """Says how good answers are."""

    def __call__(self, labels: Any, answers: Any, /) -> Mapping[str, float]:
        """Figures by name. Of a model with one label both are arrays `[N, …]`; of one with several, dicts of them."""


class Slices(Protocol):
    """Says which held-out rows are scored apart, too."""

    def __call__(self, features: Mapping[str, Array], /) -> Mapping[str, Any]:
        """By the name of each division, what every row belongs to: texts or whole numbers `[N]`."""


@dataclass(frozen=True)
class Recipe:
    """A user's functions, and the defaults of those that they left out."""

    spec: str
    make: Callable[..., Any]
    load: Load | None
    fit: Fit
    score: Score | None
    slices: Slices | None
    gate: Mapping[str, MetricRule] | None
    signatures: Mapping[str, str] | None

    @property
    def is_factory(self) -> bool:
        """Whether it says no more of its data than a function that makes a model does."""
        return ":" in self.spec and self.load is None


def higher(by: float = 0.0, at_least: float | None = None) -> MetricRule:
    """A figure that should be high: it may be lower by `by` than the live version's, and must be `at_least` so much."""
    return MetricRule("higher", by, at_least)


def lower(by: float = 0.0, at_most: float | None = None) -> MetricRule:
    """A figure that should be low: it may be higher by `by` than the live version's, and must be `at_most` so much."""
    return MetricRule("lower", by, at_most)


def fit(model: Any, data: FitData, epochs: int, callbacks: Sequence[Any]) -> object:
    """Keras' own fit, in batches of 64."""
    return model.fit(
        data.x,
        data.y,
        sample_weight=data.sample_weight,
        validation_data=data.validation,
        batch_size=BATCH_SIZE,
        epochs=epochs,
        callbacks=[*callbacks],
        verbose=0,
    )


def load_recipe(spec: str, project: Path = HERE) -> Recipe:
    """The recipe that `spec` names.

    Args:
        spec: `package.module`, whose function `make` makes the model; or `package.module:function`. Of the latter's
            module nothing but that function is used, unless it is a recipe itself (has a `make`).
        project: folder in which the module is looked for last.

    Raises:
        InvalidModel: no such module or function, or one of its parts is not what it should be.
    """
    module = import_module(spec, project)
    name = spec.partition(":")[2] or MAKE
    make = _function(module, name, spec)
    if make is None:
        mine = [n for n, v in vars(module).items() if inspect.isfunction(v) and v.__module__ == module.__name__]
        public = ", ".join(n for n in mine if not n.startswith("_")) or "none"
        raise InvalidModel(f"Module {module.__name__!r} has no function {name!r}; its functions are: {public}.")
    if not hasattr(module, MAKE):
        return Recipe(spec, make, None, fit, None, None, None, None)
    return Recipe(
        spec,
        make,
        load=_function(module, "load", spec),
        fit=_function(module, "fit", spec) or fit,
        score=_function(module, "score", spec),
        slices=_function(module, "slices", spec),
        gate=_gate(module, spec),
        signatures=_signatures(module, spec),
    )


def _function(module: ModuleType, name: str, spec: str) -> Any:
    found = getattr(module, name, None)
    if found is not None and not callable(found):
        raise InvalidModel(f"{named(spec)}: {name} is {type_phrase(found)}, which cannot be called.")
    return found


def _gate(module: ModuleType, spec: str) -> Mapping[str, MetricRule] | None:
    found = getattr(module, "GATE", None)
    if found is None:
        return None
    try:
        rules = TypeAdapter(dict[str, MetricRule]).validate_python(found)
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise InvalidModel(
            f"{named(spec)}: GATE is not rules by the name of a figure ({where}: {error.errors()[0]['msg']}): write "
            'GATE = {"mae": lower(by=0.5, at_most=60)}, with lower and higher from tasks.training.recipe.'
        ) from None
    if not rules:
        raise InvalidModel(f"{named(spec)}: GATE is empty: leave it out, or name the figures that decide.")
    return rules


def _signatures(module: ModuleType, spec: str) -> Mapping[str, str] | None:
    found = getattr(module, "SIGNATURES", None)
    if found is None:
        return None
    if not isinstance(found, Mapping) or not found or not all(isinstance(v, str) for kv in found.items() for v in kv):
        raise InvalidModel(f'{named(spec)}: SIGNATURES is not names to methods, such as {{"predict": "call"}}.')
    return found


def make_model(recipe: Recipe, data: TrainingData, settings: Mapping[str, Any]) -> Any:
    """The recipe's model.

    Raises:
        InvalidInput: it has no setting of such a name, or one has a value of another type.
        InvalidModel: the recipe fails, or does not return a Keras model.
    """
    arguments = checked_settings(recipe, settings)
    try:
        model = recipe.make(*([data] if _takes_data(recipe) else []), **arguments)
    except SlipwayError:
        raise
    except Exception as error:
        raise InvalidModel(f"{named(recipe.spec)} failed: {error_text(error)}.") from error
    import keras

    if not isinstance(model, keras.Model):
        raise InvalidModel(
            f"{named(recipe.spec)} returned {type_phrase(model)}, expected a Keras model (Sequential, functional, or a "
            "class derived from keras.Model): does it end with `return model`?"
        )
    return model


def checked_settings(recipe: Recipe, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as `make` takes them, converted to the types that it names.

    Raises:
        InvalidInput: says which setting is not known, or cannot be, and what was expected.
    """
    known = _settings_of(recipe)
    hints = get_type_hints(recipe.make) if inspect.isfunction(recipe.make) else {}
    checked = {}
    for name, value in settings.items():
        if name not in known:
            there = ", ".join(map(str, known.values())) or "none"
            raise InvalidInput(f"{named(recipe.spec)} has no setting {name!r}; its settings are: {there}.")
        try:
            checked[name] = TypeAdapter(hints.get(name, Any)).validate_python(value)
        except ValidationError as error:
            raise InvalidInput(
                f"{named(recipe.spec)}: {name} = {json.dumps(value)} cannot be: {error.errors()[0]['msg']}; "
                f"it takes {known[name]}."
            ) from None
    return checked


def _settings_of(recipe: Recipe) -> dict[str, inspect.Parameter]:
    parameters = [*_parameters(recipe)]
    return {p.name: p for p in parameters[_takes_data(recipe) :] if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}


def _takes_data(recipe: Recipe) -> bool:
    """Whether the first parameter is the data: it is, if it can be given by its place and has no default."""
    first = next(iter(_parameters(recipe)), None)
    positional = first is not None and first.kind in (first.POSITIONAL_ONLY, first.POSITIONAL_OR_KEYWORD)
    return positional and first is not None and first.default is first.empty


def _parameters(recipe: Recipe) -> Sequence[inspect.Parameter]:
    try:
        return [*inspect.signature(recipe.make).parameters.values()]
    except (TypeError, ValueError):  # made of C
        return []


def sliced(recipe: Recipe, features: Mapping[str, Array]) -> dict[str, Array]:
    """What the recipe's own `slices` says of rows: by name, what each belongs to; nothing if it has none.

    Raises:
        InvalidModel: it fails, or gives something else.
    """
    if recipe.slices is None:
        return {}
    rows = len(next(iter(features.values())))
    try:
        found = {str(name): np.asarray(values) for name, values in recipe.slices(features).items()}
    except Exception as error:
        raise InvalidModel(f"{named(recipe.spec)}: slices failed: {error_text(error)}.") from error
    for name, values in found.items():
        if values.shape != (rows,) or values.dtype.kind not in "OSUiub":
            raise InvalidModel(
                f"{named(recipe.spec)}: slices gives {values.dtype} {list(values.shape)} for {name!r}, expected a "
                f"text or a whole number for each of {rows} rows."
            )
    return found

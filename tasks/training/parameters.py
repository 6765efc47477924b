"""What a training is made with: its run's parameters, else those of the model's last version."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tasks import names
from tasks.data.sources import NAMED
from tasks.errors import InvalidInput, InvalidModel
from tasks.limits import Limits
from tasks.records import Manifest, Record
from tasks.store.base import Store
from tasks.versions import catalog
from tasks.versions.signing import Trust

DEMO_MODEL = "MLP"
DEMO_RECIPE = "tasks.models"


@dataclass(frozen=True)
class TrainingParameters(Record):
    """Everything that decides how a model is trained."""

    recipe: str | None = None  # package.module
    factory: str | None = None  # package.module:function, in place of a recipe
    settings: Mapping[str, Any] = field(default_factory=dict)  # arguments of the recipe's `make`, by name
    signatures: Mapping[str, str] | None = None  # name → method; None: all that the model has
    data: str = ""  # as `tasks.data.sources` takes it; empty: not recorded
    label: str | None = None  # column of the data that is learnt
    epochs: int = 15
    seed: int = 1
    split_seed: int = 0

    @property
    def spec(self) -> str:
        """What makes the model: a recipe, or a factory."""
        return self.recipe or self.factory or ""


def choose_parameters(
    store: Store,
    trust: Trust,
    model: str,
    limits: Limits | None,
    *,
    recipe: str | None = None,
    factory: str | None = None,
    settings: Mapping[str, Any] | None = None,
    signatures: Mapping[str, str] | None = None,
    data: str | None = None,
    label: str | None = None,
    epochs: int | None = None,
    seed: int | None = None,
    split_seed: int | None = None,
) -> TrainingParameters:
    """What to train `model` with.

    With a recipe or a factory, anything not given has its default. Without one, it is taken from the model's last
    version: the last that was accepted, or the newest if none was; single settings go before its own. Only the demo's
    model begins with the demo's recipe.

    Args:
        limits: what the arguments may name; None: anything, since they come from the user who runs this process.

    Raises:
        InvalidName: the model could not be served under that name.
        InvalidModel: no recipe or factory is given or recorded.
        InvalidInput: no model is named, a recipe and a factory are, no data is given or recorded, or `limits` do not
            allow something.
        SignatureInvalid: the last version was not signed with the trusted key.
    """
    if not model:
        raise InvalidInput(
            "The run names no model. An event for a dataset other than slipway.dataset.digits says in its payload "
            'which model is trained on it: {"model": "NAME", "data": "PATH"}.'
        )
    names.model_name(model)
    if recipe and factory:
        raise InvalidInput(
            f"Both a recipe, {recipe!r}, and a factory, {factory!r}, are given: a recipe's own `make` makes its model."
        )
    if recipe and ":" in recipe:
        raise InvalidInput(f"A recipe is a module: give {recipe.partition(':')[0]!r}, or {recipe!r} as a factory.")
    if recipe or factory:
        data_at_first = "mnist-5k" if factory or recipe == DEMO_RECIPE else ""
        chosen = TrainingParameters(recipe or None, factory or None, data=data_at_first)
    else:
        chosen = parameters_before(last_version(store, trust, model), model)
    settings = {**chosen.settings, **(settings or {})}
    chosen = _changed(
        replace(chosen, settings=settings),
        signatures=signatures,
        data=data,
        label=label,
        epochs=epochs,
        seed=seed,
        split_seed=split_seed,
    )
    # What a signed version was made with was allowed at the time.
    unsigned = trust.public_key is None
    if limits and (recipe or factory or unsigned):
        limits.require_factory(chosen.spec)
    if not chosen.data:
        raise InvalidInput(
            f"Nothing says what model {model!r} is to be trained on: say which data (`slipway release --data`, or the "
            "run's parameter `data`)."
        )
    if limits and (data or unsigned) and chosen.data not in NAMED:
        chosen = replace(chosen, data=limits.data(chosen.data))
    return chosen


def scoring_parameters(
    store: Store,
    trust: Trust,
    model: str,
    limits: Limits | None,
    *,
    recipe: str | None = None,
    data: str | None = None,
    label: str | None = None,
    split_seed: int | None = None,
) -> TrainingParameters | None:
    """By what to score a SavedModel that was made elsewhere: what is given, else what its last version was scored by.

    None if no data are named, now or then.

    Raises:
        InvalidInput: a recipe without data, or `limits` do not allow something.
    """
    if not data:
        if recipe or label:
            raise InvalidInput(
                f"Model {model!r} is to be scored by {recipe or label!r}, but no data are named: say which (`--data`)."
            )
        last = last_version(store, trust, model)
        before = last.training if last is not None else None
        if before is None or before.code_version is not None or before.data is None:
            return None
        dataset = before.dataset
        seed = dataset.split_seed if dataset else 0
        return TrainingParameters(before.recipe, data=before.data, label=before.label, split_seed=seed)
    if limits and recipe:
        limits.require_factory(recipe)
    if limits and data not in NAMED:
        data = limits.data(data)
    return TrainingParameters(recipe or None, data=data, label=label or None, split_seed=split_seed or 0)


def parameters_before(last: Manifest | None, model: str) -> TrainingParameters:
    """What `last`, the last version of `model`, was trained with.

    Raises:
        InvalidModel: there is none, or it was not trained here.
    """
    if last is None and model == DEMO_MODEL:
        return TrainingParameters(DEMO_RECIPE, data="mnist-5k")
    if last is None:
        raise InvalidModel(
            f"Nothing says what makes model {model!r}: no version of it was ever made. Give a recipe for the first, "
            f"and later runs take the same: `slipway release {model} --recipe package.module --data SOURCE`, or the "
            "run's parameters `recipe` and `data`."
        )
    training = last.training
    if training.code_version is None and training.factory is None:
        raise InvalidModel(
            f"Version {last.version} of model {model!r} is a SavedModel that was made elsewhere, so nothing says how "
            f"to train the next. Release another SavedModel (`slipway release {model} --saved-model DIR`), or give a "
            "recipe (`--recipe package.module --data SOURCE`, or the run's parameters `recipe` and `data`)."
        )
    dataset = training.dataset
    named = dataset.name if dataset and dataset.name in NAMED else None  # all that versions before 0.3 say
    return _changed(
        TrainingParameters(
            training.recipe,
            training.factory,
            training.settings,
            training.methods,
            training.data or named or "",
            training.label,
        ),
        epochs=training.epochs,
        seed=training.seed,
        split_seed=dataset.split_seed if dataset else None,
    )


def last_version(store: Store, trust: Trust, model: str) -> Manifest | None:
    """The manifest of the last version that was accepted, or of the newest if none was; None if there is none.

    Raises:
        SignatureInvalid: it was not signed with the trusted key.
    """
    numbers = sorted(catalog.published(store, model), reverse=True)
    verdicts = zip(numbers, catalog.verdicts(store, model, numbers), strict=True)
    accepted = (number for number, verdict in verdicts if verdict and verdict.state == "accepted")
    number = next(accepted, max(numbers, default=None))
    return None if number is None else catalog.trusted_manifest(store, trust, model, number)


def _changed(parameters: TrainingParameters, **values: Any) -> TrainingParameters:
    """`parameters` with the values that are given; an empty field of a form is an empty text."""
    return replace(parameters, **{name: value for name, value in values.items() if value not in (None, "")})

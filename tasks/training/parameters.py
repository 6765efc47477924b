"""What a training is made with: its run's parameters, else those of the model's last version."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tasks import names
from tasks.data.dataset import NAMED
from tasks.errors import InvalidInput, InvalidModel
from tasks.limits import Limits
from tasks.records import Manifest, Record
from tasks.store.base import Store
from tasks.versions import catalog
from tasks.versions.signing import Trust

DEMO_MODEL = "MLP"
DEMO_FACTORY = "tasks.models:mlp"


@dataclass(frozen=True)
class TrainingParameters(Record):
    """Everything that decides how a model is trained."""

    factory: str  # package.module:function
    signatures: Mapping[str, str] | None = None  # name → method; None: all that the model has
    data: str = "mnist-5k"  # as `tasks.data.sources.load_dataset` takes it; empty: not recorded
    epochs: int = 15
    seed: int = 1
    split_seed: int = 0


def choose_parameters(
    store: Store,
    trust: Trust,
    model: str,
    limits: Limits | None,
    *,
    factory: str | None = None,
    signatures: Mapping[str, str] | None = None,
    data: str | None = None,
    epochs: int | None = None,
    seed: int | None = None,
    split_seed: int | None = None,
) -> TrainingParameters:
    """What to train `model` with.

    With a factory, anything not given has its default. Without one, it is taken from the model's last version: the last
    that was accepted, or the newest if none was. Only the demo's model begins with the demo's factory.

    Args:
        limits: what the arguments may name; None: anything, since they come from the user who runs this process.

    Raises:
        InvalidName: the model could not be served under that name.
        InvalidModel: no factory is given or recorded.
        InvalidInput: no model is named, no data is given or recorded, or `limits` do not allow something.
        SignatureInvalid: the last version was not signed with the trusted key.
    """
    if not model:
        raise InvalidInput(
            "The run names no model. An event for a dataset other than slipway.dataset.digits says in its payload "
            'which model is trained on it: {"model": "NAME", "data": "PATH"}.'
        )
    names.model_name(model)
    chosen = TrainingParameters(factory) if factory else parameters_before(last_version(store, trust, model), model)
    chosen = _changed(chosen, signatures=signatures, data=data, epochs=epochs, seed=seed, split_seed=split_seed)
    # What a signed version was made with was allowed at the time.
    unsigned = trust.public_key is None
    if limits and (factory or unsigned):
        limits.require_factory(chosen.factory)
    if not chosen.data:
        raise InvalidInput(
            f"The last version of model {model!r} was made by a Slipway that did not record where its data was: say "
            "which to train on (`slipway release --data`, or the run's parameter `data`)."
        )
    if limits and (data or unsigned) and chosen.data not in NAMED:
        chosen = replace(chosen, data=limits.path("data", chosen.data))
    return chosen


def parameters_before(last: Manifest | None, model: str) -> TrainingParameters:
    """What `last`, the last version of `model`, was trained with.

    Raises:
        InvalidModel: there is none, or it was not trained here.
    """
    if last is None and model == DEMO_MODEL:
        return TrainingParameters(DEMO_FACTORY)
    if last is None:
        raise InvalidModel(
            f"Nothing says what makes model {model!r}: no version of it was ever made. Give a factory for the first, "
            f"and later runs take the same: `slipway release {model} --factory package.module:function`, or the run's "
            "parameter `factory`."
        )
    training = last.training
    if training.factory is None:
        raise InvalidModel(
            f"Version {last.version} of model {model!r} is a SavedModel that was made elsewhere, so nothing says how "
            f"to train the next. Release another SavedModel (`slipway release {model} --saved-model DIR`), or give a "
            "factory (`--factory package.module:function`, or the run's parameter `factory`)."
        )
    dataset = training.dataset
    named = dataset.name if dataset and dataset.name in NAMED else None  # all that versions before 0.3 say
    return _changed(
        TrainingParameters(training.factory, training.methods, training.data or named or ""),
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
    verdicts = ((number, catalog.verdict(store, model, number)) for number in numbers)
    accepted = (number for number, verdict in verdicts if verdict and verdict.state == "accepted")
    number = next(accepted, max(numbers, default=None))
    return None if number is None else catalog.trusted_manifest(store, trust, model, number)


def _changed(parameters: TrainingParameters, **values: Any) -> TrainingParameters:
    """`parameters` with the values that are given; an empty field of a form is an empty text."""
    return replace(parameters, **{name: value for name, value in values.items() if value not in (None, "")})

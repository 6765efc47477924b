"""Training: data, model, export, and a sandbox that proves that it can be served. Nothing is published."""

from typing import Any, cast

from prefect import flow
from prefect.runtime import flow_run
from prefect.states import Completed

from flows.limits import limits
from flows.steps import (
    choose_parameters,
    choose_policy,
    discard_build,
    find_same_training,
    keep_build,
    made_of,
    read_data,
    train_and_export,
    try_in_sandbox,
)
from tasks.training.run import TrainedBuild
from tasks.versions.known import NothingNew


def nothing_new(same: NothingNew) -> NothingNew:
    """End the run as Completed, with what made it needless as its message."""
    return cast(NothingNew, Completed(message=same.sentence, data=same))


@flow(name="train", flow_run_name="train {model}")
def train(
    model: str = "MLP",
    recipe: str | None = None,
    settings: dict[str, Any] | None = None,
    factory: str | None = None,
    signatures: dict[str, str] | None = None,
    data: str | None = None,
    label: str | None = None,
    epochs: int | None = None,
    seed: int | None = None,
    split_seed: int | None = None,
    policy: dict[str, Any] | None = None,
    again: bool = True,
) -> TrainedBuild | NothingNew:
    """Train `model` and export it as a SavedModel with golden examples.

    Without a recipe or a factory, anything not given is taken from the model's last version: the last that was
    accepted, or the newest if none was.

    Args:
        recipe: the module that says how the model is made, as `package.module`.
        settings: arguments of the recipe's `make`, by name.
        factory: what makes the model, as `package.module:name`, where there is no recipe.
        signatures: which of its methods to export, by the name that clients ask for; all that can be if not given.
        data: `mnist-5k`, `mnist`, the path of a file or folder, `s3://bucket/key`, or `package.module:function`.
        label: the column of the data that is learnt.
        seed: of the weights and the order of training; the same seed, data and code give the same weights.
        split_seed: of the split into train, validation and held-out examples.
        policy: values of the rule by which it passes that go before the model's own policy and the settings.
        again: train it even if a version was made from just the same; if not, that version is returned.
    """
    chosen = choose_parameters(
        model,
        limits(),
        recipe=recipe,
        factory=factory,
        settings=settings,
        signatures=signatures,
        data=data,
        label=label,
        epochs=epochs,
        seed=seed,
        split_seed=split_seed,
    )
    snapshot = read_data(chosen)
    training = made_of(chosen, snapshot)
    same = None if again else find_same_training(model, training)
    if same is not None:
        return nothing_new(same)
    rule = choose_policy(model, policy)
    trained = train_and_export(model, training, snapshot, flow_run.root_flow_run_id, flow_run.id)
    try:
        try_in_sandbox(trained.build, rule)
    except BaseException:
        discard_build(trained.build)
        raise
    if flow_run.parent_flow_run_id is None:  # a release discards its own
        keep_build(trained.build)
    return trained

"""Training: data, model, export, and a sandbox that proves that it can be served. Nothing is published."""

from typing import Any

from prefect import flow
from prefect.runtime import flow_run

from flows.limits import limits
from flows.steps import (
    choose_parameters,
    choose_policy,
    discard_build,
    keep_build,
    take_snapshot,
    train_and_export,
    try_in_sandbox,
)
from tasks.training.run import TrainedBuild


@flow(name="train", flow_run_name="train {model}")
def train(
    model: str = "MLP",
    factory: str | None = None,
    signatures: dict[str, str] | None = None,
    data: str | None = None,
    epochs: int | None = None,
    seed: int | None = None,
    split_seed: int | None = None,
    policy: dict[str, Any] | None = None,
) -> TrainedBuild:
    """Train `model` and export it as a SavedModel with golden examples.

    Without a factory, anything not given is taken from the model's last version: the last that was accepted, or the
    newest if none was.

    Args:
        factory: what makes the model, as `package.module:name`.
        signatures: which of its methods to export, by the name that clients ask for; all that can be if not given.
        data: `mnist-5k`, `mnist`, or the path of an `.npz` with arrays `x` and `y`.
        seed: of the weights and the order of training; the same seed, data and code give the same weights.
        split_seed: of the split into train, validation and held-out examples.
        policy: values of the rule by which it passes that go before the model's own policy and the settings.
    """
    rule = choose_policy(model, policy)
    chosen = choose_parameters(
        model,
        limits(),
        factory=factory,
        signatures=signatures,
        data=data,
        epochs=epochs,
        seed=seed,
        split_seed=split_seed,
    )
    snapshot = take_snapshot(chosen.data, chosen.split_seed)
    trained = train_and_export(model, chosen, snapshot, flow_run.root_flow_run_id, flow_run.id)
    try:
        try_in_sandbox(trained.build, rule)
    except BaseException:
        discard_build(trained.build)
        raise
    if flow_run.parent_flow_run_id is None:  # a release discards its own
        keep_build(trained.build)
    return trained

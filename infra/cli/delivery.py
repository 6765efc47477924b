"""Commands that deliver: release, publish, rollout, rollback. Each runs its flow here, seen in the Prefect UI."""

import uuid
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from infra.cli.flow_runs import prefect_answers, running_flows
from infra.cli.help import example
from infra.cli.options import (
    Data,
    Directory,
    EarlierVersion,
    Epochs,
    Factory,
    Fleet,
    ForceRelease,
    ForceRollout,
    Inputs,
    Json,
    Model,
    ModelOption,
    NewFleet,
    PolicyFile,
    SavedModel,
    SavedModelInputs,
    Seed,
    Signatures,
    StrategyOption,
    Version,
)
from infra.cli.output import print_json, print_page
from infra.cli.policy import given_policy
from tasks import names
from tasks.errors import InvalidInput
from tasks.settings import settings
from tasks.training.factory import require_visible

if TYPE_CHECKING:
    from tasks.validation.validate import ValidationReport


@example("slipway release MLP --factory mypackage.models:make --signature call=call --data digits.npz")
def release(
    model: Model,
    factory: Factory = None,
    signature: Signatures = None,
    data: Data = None,
    epochs: Epochs = None,
    seed: Seed = None,
    saved_model: SavedModel = None,
    inputs: SavedModelInputs = None,
    fleet: Fleet = None,
    strategy: StrategyOption = "blue-green",
    force: ForceRelease = None,
    new_fleet: NewFleet = False,
    policy: PolicyFile = None,
    as_json: Json = False,
) -> None:
    """Train a model, publish it as the next version, and roll it out once its replicas answer as it was trained."""
    names.model_name(model)
    if factory:
        require_visible(factory, settings().project)
    if inputs and not saved_model:
        raise InvalidInput("--inputs goes with --saved-model: a trained model's golden examples come from its data.")
    delivery: dict[str, Any] = {
        "fleet": fleet or settings().fleet,
        "strategy": strategy,
        "force": force,
        "new_fleet": new_fleet,
        "policy": given_policy(policy),
    }
    with running_flows():
        from flows.release import release as train_and_release
        from flows.release import release_saved_model

        if saved_model:
            examples = str(inputs) if inputs else None
            released = release_saved_model(model, str(saved_model), inputs=examples, **delivery)
        else:
            signatures = _signatures(signature)
            released = train_and_release(
                model, factory=factory, signatures=signatures, data=data, epochs=epochs, seed=seed, **delivery
            )
    if as_json:
        print_json(released)
    else:
        _print_served(released.report, "is accepted and serves")


@example("slipway publish exported/ --model MLP --inputs examples.json")
def publish(
    directory: Directory,
    model: ModelOption,
    inputs: Inputs = None,
    as_json: Json = False,
) -> None:
    """Publish a SavedModel as the next version of a model, without serving it."""
    from tasks.savedmodel.prepare import discard_build, prepare_saved_model
    from tasks.store.connect import connect
    from tasks.validation.sandbox import try_in_sandbox
    from tasks.versions.policies import choose_policy
    from tasks.versions.publish import publish as publish_version
    from tasks.versions.signing import Trust

    store, run = connect(settings()), f"publish-{uuid.uuid4()}"
    store.require_suitable()
    build = prepare_saved_model(settings(), model, str(directory), str(inputs) if inputs else None, run)
    try:
        try_in_sandbox(settings(), build, choose_policy(store, settings(), model))
        manifest = publish_version(store, Trust.of(settings()), build, run)
    finally:
        discard_build(build)
    if prefect_answers():
        from flows import events

        events.emit(events.published(manifest, run))
    if as_json:
        print_json(manifest)
    else:
        print(f"Published {model} version {manifest.version}: `slipway rollout {model} {manifest.version}` serves it.")


@example("slipway rollout MLP 7 --strategy labels")
def rollout(
    model: Model,
    version: Version,
    fleet: Fleet = None,
    strategy: StrategyOption = "blue-green",
    force: ForceRollout = None,
    new_fleet: NewFleet = False,
    policy: PolicyFile = None,
    as_json: Json = False,
) -> None:
    """Have a fleet serve a published version, validated on every replica, or what it served before."""
    names.model_name(model)
    given = given_policy(policy)
    with running_flows():
        from flows.rollout import rollout as flow

        report = flow(model, version, fleet or settings().fleet, strategy, force, new_fleet, given)
    if as_json:
        print_json(report)
    else:
        _print_served(report, "is accepted and serves")


@example("slipway rollback MLP --to 3")
def rollback(
    model: Model, to: EarlierVersion = None, fleet: Fleet = None, policy: PolicyFile = None, as_json: Json = False
) -> None:
    """Serve an earlier version again, validated like any rollout."""
    given = given_policy(policy)
    with running_flows():
        from flows.rollback import rollback as flow

        report = flow(model, to, fleet or settings().fleet, given)
    if as_json:
        print_json(report)
    else:
        _print_served(report, "is served again")


def _print_served(report: "ValidationReport", how: str) -> None:
    from tasks.reports import pages

    print(f"\n{report.model} version {report.version} {how}.\n")
    print_page(pages.validation(report))


def _signatures(pairs: Iterable[str] | None) -> dict[str, str] | None:
    if not pairs:
        return None
    wrong = [pair for pair in pairs if not all(pair.partition("="))]
    if wrong:
        raise InvalidInput(f"--signature {wrong[0]!r} is not NAME=METHOD, such as classify=classify.")
    return {name: method for name, _, method in (pair.partition("=") for pair in pairs)}

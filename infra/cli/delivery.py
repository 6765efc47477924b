"""Commands that deliver: release, publish, rollout, rollback. Each runs its flow here, seen in the Prefect UI."""

import json
import uuid
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from infra.cli.flow_runs import prefect_answers, running_flows
from infra.cli.help import example
from infra.cli.options import (
    Again,
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
    Label,
    Model,
    ModelOption,
    NewFleet,
    PolicyFile,
    Recipe,
    SavedModel,
    SavedModelInputs,
    Seed,
    Settings,
    Signatures,
    StrategyOption,
    Ungated,
    Version,
)
from infra.cli.output import print_json, print_page
from infra.cli.policy import given_policy
from tasks import names
from tasks.errors import InvalidInput
from tasks.settings import settings
from tasks.training.modules import require_visible

if TYPE_CHECKING:
    from tasks.validation.validate import ValidationReport


@example("slipway release Prices --recipe shop.prices --data prices.parquet --label price --set units=64")
def release(
    model: Model,
    recipe: Recipe = None,
    setting: Settings = None,
    factory: Factory = None,
    signature: Signatures = None,
    data: Data = None,
    label: Label = None,
    epochs: Epochs = None,
    seed: Seed = None,
    saved_model: SavedModel = None,
    inputs: SavedModelInputs = None,
    fleet: Fleet = None,
    strategy: StrategyOption = "blue-green",
    force: ForceRelease = None,
    ungated: Ungated = None,
    again: Again = False,
    new_fleet: NewFleet = False,
    policy: PolicyFile = None,
    as_json: Json = False,
) -> None:
    """Train a model, publish it as the next version, and roll it out once its replicas answer as it was trained."""
    names.model_name(model)
    for spec in filter(None, (recipe, factory)):
        require_visible(spec, settings().project)
    if inputs and not saved_model:
        raise InvalidInput("--inputs goes with --saved-model: a trained model's golden examples come from its data.")
    settings_given = _settings(setting)
    delivery: dict[str, Any] = {
        "fleet": fleet or settings().fleet,
        "strategy": strategy,
        "force": force,
        "ungated": ungated,
        "again": again,
        "new_fleet": new_fleet,
        "policy": given_policy(policy),
    }
    with running_flows():
        from flows.release import Release, release_saved_model
        from flows.release import release as train_and_release

        if saved_model:
            examples = str(inputs) if inputs else None
            scoring: dict[str, Any] = {"recipe": recipe, "data": data, "label": label}
            released = release_saved_model(
                model, str(saved_model), inputs=examples, signatures=_names(signature), **scoring, **delivery
            )
        else:
            training: dict[str, Any] = {"recipe": recipe, "settings": settings_given, "factory": factory}
            training |= {"signatures": _signatures(signature), "data": data, "label": label}
            released = train_and_release(model, **training, epochs=epochs, seed=seed, **delivery)
    if as_json:
        print_json(released)
    elif isinstance(released, Release):
        _print_served(released.report, "is accepted and serves")
    else:
        print(f"\n{released.sentence}")


@example("slipway publish exported/ --model MLP --inputs examples.json")
def publish(
    directory: Directory,
    model: ModelOption,
    inputs: Inputs = None,
    signature: Signatures = None,
    policy: PolicyFile = None,
    again: Again = False,
    as_json: Json = False,
) -> None:
    """Publish a SavedModel as the next version of a model, without serving it."""
    from tasks.savedmodel.prepare import discard_build, prepare_saved_model
    from tasks.store.connect import connect
    from tasks.validation.sandbox import try_in_sandbox
    from tasks.versions.known import find_same_content
    from tasks.versions.policies import choose_policy
    from tasks.versions.publish import publish as publish_version
    from tasks.versions.signing import Trust

    store, run = connect(settings()), f"publish-{uuid.uuid4()}"
    store.require_suitable()
    rule = choose_policy(store, settings(), model, given_policy(policy))
    examples = str(inputs) if inputs else None
    build = prepare_saved_model(settings(), model, str(directory), examples, run, signatures=_names(signature))
    try:
        same = None if again else find_same_content(store, build)
        if same is not None:
            print_json(same) if as_json else print(same.sentence)
            return
        try_in_sandbox(settings(), build, rule)
        manifest = publish_version(store, Trust.of(settings()), build, run, again=again)
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
    return _by_name(pairs, "--signature", "NAME=METHOD, such as classify=classify") or None


def _names(signatures: list[str] | None) -> list[str] | None:
    """The signatures of a SavedModel that are to be published."""
    for name in signatures or ():
        if "=" in name:
            raise InvalidInput(f"--signature {name!r}: a SavedModel's signatures have their names: give NAME alone.")
    return signatures or None


def _settings(pairs: Iterable[str] | None) -> dict[str, Any]:
    """Arguments of a recipe's `make`: JSON where it is JSON, else a text."""
    return {name: _json(value) for name, value in _by_name(pairs, "--set", "NAME=VALUE, such as units=64").items()}


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _by_name(pairs: Iterable[str] | None, option: str, form: str) -> dict[str, str]:
    found = [pair.partition("=") for pair in pairs or ()]
    wrong = [name for name, equals, value in found if not (name and equals and value)]
    if wrong:
        raise InvalidInput(f"{option} {wrong[0]!r} is not {form}.")
    return {name: value for name, _, value in found}

"""Commands that deliver: release, publish, rollout, rollback. Each runs its flow here, seen in the Prefect UI."""

import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from infra.cli.flow_runs import running_flows
from infra.cli.help import example
from infra.cli.options import Fleet, Json, Model, StrategyOption, Version
from infra.cli.output import print_json
from tasks import names
from tasks.errors import InvalidInput
from tasks.settings import settings
from tasks.training.factory import require_visible

NewFleet = Annotated[
    bool, typer.Option("--new-fleet", help="No replica of the fleet reports yet: wait for its first one.")
]


@example("slipway release MLP --factory mypackage.models:make --signature call=call --data digits.npz")
def release(
    model: Model,
    factory: Annotated[
        str | None,
        typer.Option(
            "--factory",
            help="What makes the model: package.module:name. Without it, all that is not given is as the model's "
            "last version was made.",
        ),
    ] = None,
    signature: Annotated[
        list[str] | None,
        typer.Option("--signature", help="NAME=METHOD to export; all methods with an input_signature if not given."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", help="mnist-5k (with --factory, the default), mnist, or a .npz with arrays x and y."),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, help="Times that training sees all data; 15 with --factory.")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", help="Seed of training; the same seed gives the same weights. 1 with --factory."),
    ] = None,
    saved_model: Annotated[
        Path | None, typer.Option("--saved-model", help="Release this SavedModel instead of training one.")
    ] = None,
    inputs: Annotated[
        Path | None, typer.Option("--inputs", help="Inputs for the golden examples of --saved-model (.npz or .json).")
    ] = None,
    fleet: Fleet = None,
    strategy: StrategyOption = "blue-green",
    force: Annotated[
        str | None,
        typer.Option(
            "--force", metavar="REASON", help="Publish it even if it is worse or breaks clients, and keep why."
        ),
    ] = None,
    new_fleet: NewFleet = False,
    as_json: Json = False,
) -> None:
    """Train a model, publish it as the next version, and roll it out once its replicas answer as it was trained."""
    names.model_name(model)
    if factory:
        require_visible(factory)
    if inputs and not saved_model:
        raise InvalidInput("--inputs goes with --saved-model: a trained model's golden examples come from its data.")
    with running_flows():
        from flows.release import release as flow
        from flows.release import release_saved_model

        if saved_model:
            released = release_saved_model(
                model,
                str(saved_model),
                inputs=str(inputs) if inputs else None,
                fleet=fleet or settings().fleet,
                strategy=strategy,
                force=force,
                new_fleet=new_fleet,
            )
        else:
            released = flow(
                model,
                factory=factory,
                signatures=_signatures(signature),
                data=data,
                epochs=epochs,
                seed=seed,
                fleet=fleet or settings().fleet,
                strategy=strategy,
                force=force,
                new_fleet=new_fleet,
            )
    if as_json:
        print_json(released)
    else:
        print(f"\n{released.summary()}")


@example("slipway publish exported/ --model MLP --inputs examples.json")
def publish(
    directory: Annotated[Path, typer.Argument(help="Folder of a SavedModel.")],
    model: Annotated[str, typer.Option("--model", "-m", help="Name of the model, as in /v1/models/NAME.")],
    inputs: Annotated[
        Path | None,
        typer.Option("--inputs", help="Inputs for its golden examples (.npz or .json); made up if not given."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Publish a SavedModel as the next version of a model, without serving it."""
    from tasks.savedmodel.prepare import discard_build, prepare_saved_model
    from tasks.store.s3 import Store
    from tasks.validation.sandbox import try_in_sandbox
    from tasks.versions.publish import publish as publish_version
    from tasks.versions.signing import Trust

    store, run = Store.connect(settings()), f"publish-{uuid.uuid4()}"
    store.require_suitable()
    build = prepare_saved_model(model, str(directory), str(inputs) if inputs else None, run)
    try:
        try_in_sandbox(build)
        manifest = publish_version(store, Trust.of(settings()), build, run)
    finally:
        discard_build(build)
    if as_json:
        print_json(manifest)
    else:
        print(f"Published {model} version {manifest.version}: `slipway rollout {model} {manifest.version}` serves it.")


@example("slipway rollback MLP --to 3")
def rollback(
    model: Model,
    to: Annotated[
        int | None, typer.Option("--to", help="Version to serve again; the accepted one before if not given.")
    ] = None,
    fleet: Fleet = None,
    as_json: Json = False,
) -> None:
    """Serve an earlier version again, validated like any rollout."""
    with running_flows():
        from flows.rollback import rollback as flow

        report = flow(model, to, fleet or settings().fleet)
    if as_json:
        print_json(report)
    else:
        print(f"\n{model} version {report.version} is served again. {report.summary()}.")


def _signatures(pairs: Iterable[str] | None) -> dict[str, str] | None:
    if not pairs:
        return None
    wrong = [pair for pair in pairs if not all(pair.partition("="))]
    if wrong:
        raise InvalidInput(f"--signature {wrong[0]!r} is not NAME=METHOD, such as classify=classify.")
    return {name: method for name, _, method in (pair.partition("=") for pair in pairs)}


@example("slipway rollout MLP 7 --strategy labels")
def rollout(
    model: Model,
    version: Version,
    fleet: Fleet = None,
    strategy: StrategyOption = "blue-green",
    force: Annotated[
        str | None,
        typer.Option("--force", metavar="REASON", help="Even if it breaks clients or is much slower; keeps why."),
    ] = None,
    new_fleet: NewFleet = False,
    as_json: Json = False,
) -> None:
    """Have a fleet serve a published version, validated on every replica, or what it served before."""
    names.model_name(model)
    with running_flows():
        from flows.rollout import rollout as flow

        report = flow(model, version, fleet or settings().fleet, strategy, force, new_fleet)
    if as_json:
        print_json(report)
    else:
        print(f"\n{model} version {report.version} is accepted and serves. {report.summary()}.")

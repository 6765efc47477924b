"""Commands that deliver: release, publish, rollout, rollback. Each runs its flow here, seen in the Prefect UI."""

import contextlib
import importlib
import logging
import os
import threading
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from infra.cli.help import example
from infra.cli.models import Model
from infra.cli.output import Json, print_json
from tasks import layout
from tasks.errors import InvalidInput, InvalidSettings
from tasks.factory import require_visible
from tasks.records import Strategy
from tasks.settings import settings

_UNTIL_REPLICAS_LOAD = 2.5  # seconds from here to a rollout's first wait, about

Fleet = Annotated[str | None, typer.Option("--fleet", help="Fleet to deliver to; SLIPWAY_FLEET if not given.")]
NewFleet = Annotated[
    bool, typer.Option("--new-fleet", help="The fleet has no live replica yet: wait for its first one.")
]
StrategyOption = Annotated[
    Strategy,
    typer.Option(
        "--strategy", help="labels: watched on trial, then bears the label stable, the version before stays loaded."
    ),
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
    strategy: StrategyOption = "candidate",
    force: Annotated[
        str | None,
        typer.Option(
            "--force", metavar="REASON", help="Publish it even if it is worse or breaks clients, and keep why."
        ),
    ] = None,
    new_fleet: NewFleet = False,
    as_json: Json = False,
) -> None:
    """Train a model, publish it as the next version, and roll it out once live servers answer as it was trained."""
    layout.model_name(model)
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
    from tasks.build import discard_build, prepare_saved_model, publish_build, try_build
    from tasks.store import Store

    store, run = Store.connect(settings()), f"publish-{uuid.uuid4()}"
    store.require_suitable()
    build = prepare_saved_model(model, str(directory), str(inputs) if inputs else None, run)
    try:
        try_build(build)
        manifest = publish_build(store, build, run)
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
        int | None, typer.Option("--to", help="Version to go back to; the accepted one before if not given.")
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


@contextlib.contextmanager
def running_flows() -> Iterator[None]:
    """Run flows in this process, seen by the Prefect server, their steps' own logs shown. Before Prefect's import.

    Raises:
        InvalidSettings: no Prefect server answers.
    """
    import requests

    api = settings().prefect_api
    try:
        requests.get(f"{api}/health", timeout=settings().call_deadline).raise_for_status()
    except requests.RequestException as error:
        raise InvalidSettings(
            f"No Prefect server answers at {api} ({type(error).__name__}): start the local stack with `make up`, "
            "or set SLIPWAY_PREFECT_URL to an API, whose path mostly ends in /api."
        ) from None
    from infra.stack.programs import flow_environment

    if settings().prefect_url is None:
        os.environ.pop("PREFECT_API_AUTH_STRING", None)  # of another server; this one's comes with the profile
    # Prefect's own lines, tracebacks among them, are for its UI; here the steps speak, and errors in one sentence.
    os.environ.update(
        flow_environment(settings())
        | {
            "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
            "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",
            "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        }
    )
    logging.raiseExceptions = False  # or Prefect writes to stderr each time that its own log does not get through
    console = logging.StreamHandler()
    console.setFormatter(logging.Formatter("%(asctime)s  %(message)s", "%H:%M:%S"))
    steps = logging.getLogger("tasks")
    steps.setLevel(logging.INFO)
    steps.addHandler(console)
    import prefect.main  # noqa: F401 - sets up logging, and would take the handler away again
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    logging.getLogger("prefect.flow_runs").addHandler(_First("View at ", console))
    waiting = f"The Prefect server at {api} does not answer: it is tried again for a while"
    requests_log = logging.getLogger("prefect.client")
    requests_log.setLevel(logging.DEBUG)
    requests_log.addHandler(_First("Encountered retryable exception", console, waiting))
    # What reports are drawn with, and what speaks to MLflow, take seconds to import: a rollout waits then anyway.
    ahead = threading.Timer(_UNTIL_REPLICAS_LOAD, _import, ("matplotlib.figure", "mlflow"))
    ahead.daemon = True
    ahead.start()
    # Each flow that sends heartbeats waits up to a second at its end for the thread that sends them.
    try:
        with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
            yield
    finally:
        ahead.cancel()


def _import(*names: str) -> None:
    """Import each of the modules."""
    for name in names:
        importlib.import_module(name)


class _First(logging.Handler):
    """Tells the first line that begins so, in its own words or in others, and nothing else that Prefect says."""

    def __init__(self, beginning: str, console: logging.Handler, instead: str | None = None) -> None:
        super().__init__()
        self._beginning, self._instead = beginning, instead
        self._console: logging.Handler | None = console

    def emit(self, record: logging.LogRecord) -> None:
        if self._console is not None and record.getMessage().startswith(self._beginning):
            told = logging.LogRecord(record.name, logging.INFO, "", 0, self._instead or record.getMessage(), (), None)
            self._console.handle(told)
            self._console = None

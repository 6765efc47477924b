"""The command `slipway`: its subcommands, each imported only when it is needed.

A subcommand is a function with Typer's annotations in a module of its own, decorated with `example`, and named in
`COMMANDS`. What is slow to import (TensorFlow, Prefect, boto3) is imported inside the function.
"""

import gc
import importlib
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from infra.cli.failures import guarded, leave_if_prefect_is_away, show_tracebacks
from infra.cli.help import example_of

COMMANDS = {
    "demo": "infra.cli.demo:demo",
    "up": "infra.cli.stack:up",
    "down": "infra.cli.stack:down",
    "status": "infra.cli.stack:status",
    "logs": "infra.cli.stack:logs",
    "doctor": "infra.cli.doctor:doctor",
    "release": "infra.cli.delivery:release",
    "publish": "infra.cli.delivery:publish",
    "plan": "infra.cli.fleet:plan",
    "rollout": "infra.cli.delivery:rollout",
    "rollback": "infra.cli.delivery:rollback",
    "reconcile": "infra.cli.fleet:reconcile",
    "replicas": "infra.cli.fleet:replicas",
    "history": "infra.cli.fleet:history",
    "fleet": "infra.cli.fleet:fleet",
    "versions": "infra.cli.models:versions",
    "policy": "infra.cli.policy:policy",
    "prune": "infra.cli.fleet:prune",
    "predict": "infra.cli.models:predict",
}


def main() -> None:
    """Run the command that the process was started with."""
    try:
        application(sys.argv[1:])(prog_name="slipway")
    except SystemExit as ended:
        leave_if_prefect_is_away(ended.code)
        gc.freeze()  # or the interpreter collects garbage once more at its end, which takes a second after a flow
        raise


def application(arguments: Sequence[str]) -> typer.Typer:
    """The command line with the subcommand that `arguments` begin with, or with all if they begin with none."""
    asked = next((word for word in arguments if not word.startswith("-")), None)
    app = typer.Typer(
        name="slipway",
        no_args_is_help=True,
        rich_markup_mode=None,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    for name, place in COMMANDS.items():
        if asked not in COMMANDS or name == asked:
            function = command(place)
            app.command(name, epilog=f"Example: {example_of(function)}")(guarded(function))
    return app


def command(place: str) -> Callable[..., Any]:
    """The function at `module:name`."""
    module, _, name = place.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(version("slipway"))
        raise typer.Exit


def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of what fails.")] = False,
    version: Annotated[  # noqa: ARG001
        bool, typer.Option("--version", help="Show the version and end.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Continuous delivery for TensorFlow models."""
    show_tracebacks(debug)


if __name__ == "__main__":
    main()

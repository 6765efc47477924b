"""Commands for the local stack: up, down, status, logs."""

import os
import shlex
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from infra.cli.help import example
from infra.cli.options import Json
from infra.cli.output import duration, megabytes, print_json, print_table
from tasks.errors import InvalidInput, StackError
from tasks.settings import settings


@example("slipway up")
def up() -> None:
    """Start the local stack: what does not run is started, what runs is left alone."""
    from infra.stack.start import up as start

    began = time.monotonic()
    start(settings(), print)
    print(f"The stack is up ({time.monotonic() - began:.0f} s).")


@example("slipway down")
def down() -> None:
    """Stop the local stack; all data stays."""
    from infra.stack.status import elsewhere
    from infra.stack.stop import down as stop

    ended = stop(settings(), print)
    if ended:
        print(f"The stack is down: {ended} processes ended.")
    else:
        print(f"The stack was not running. {_elsewhere(elsewhere(settings().home))}".strip())


@example("slipway status --json")
def status(as_json: Json = False) -> None:
    """Show the stack's programs and what its replica serves; exit code 1 unless all is ready."""
    from infra.stack.status import stack_status
    from tasks.fleet.config import labels_of

    found = stack_status(settings())
    if as_json:
        print_json(found)
        raise typer.Exit(0 if found.up else 1)
    print_table(
        ["PROGRAM", "STATE", "PROCESS", "MEMORY", "UP FOR", "ADDRESS"],
        [(p.name, p.state, p.pid, megabytes(p.memory), duration(p.uptime), p.address) for p in found.programs],
    )
    print(f"{megabytes(found.memory)} in all, data in {found.home}")
    if found.models:
        print()
        print_table(
            ["MODEL", "VERSION", "LABELS", "STATE", "ERROR"],
            [
                (
                    model,
                    s.version,
                    ", ".join(labels_of(found.labels.get(model, {}), s.version)),
                    s.state,
                    s.message if s.code != "OK" else "",
                )
                for model, states in found.models.items()
                for s in states
            ],
        )
    for program in found.programs:
        if program.log:
            note = f" ({program.note})" if program.note else ""
            print(f"\n{program.name} is {program.state}{note}. The end of its log:\n{program.log}")
    if found.outdated:
        print("\nThe settings have changed since the stack was started: `slipway up` applies them.")
    if found.elsewhere:
        print(f"\n{_elsewhere(found.elsewhere)}")
    raise typer.Exit(0 if found.up else 1)


def _elsewhere(homes: Iterable[str]) -> str:
    """A sentence for each of these homes: how a command reaches the stack in it."""
    return "\n".join(
        f"A stack of yours runs in {home}: `SLIPWAY_HOME={shlex.quote(home)} slipway …` works with it."
        for home in homes
    )


@example("slipway logs worker --lines 100 --follow")
def logs(
    program: Annotated[str | None, typer.Argument(help="One program of `slipway status`; all if not given.")] = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many of the last lines.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep printing what is written.")] = False,
) -> None:
    """Show the logs of the stack's programs."""
    folder = settings().home / "logs"
    found = {path.stem: path for path in sorted(folder.glob("*.log"))}
    if not found:
        raise StackError(f"There are no logs in {folder.absolute()}: the stack was never started here (`slipway up`).")
    if program is not None and program not in found:
        raise InvalidInput(f"There is no log of {program!r}; there are logs of: {', '.join(found)}.")
    _tail([found[program]] if program else list(found.values()), lines, follow)


def _tail(paths: list[Path], lines: int, follow: bool) -> None:
    """Replace this process by `tail`, which can follow logs that are rotated.

    Raises:
        StackError: it is not installed.
    """
    command = ["tail", f"--lines={lines}", *(["-F"] if follow else []), *map(str, paths)]
    try:
        os.execvp(command[0], command)  # noqa: S606
    except FileNotFoundError:
        raise StackError(f"The program 'tail' is not installed; the logs are in {paths[0].parent}.") from None

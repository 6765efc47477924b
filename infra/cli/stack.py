"""Commands for the local stack: up, down, status, logs."""

import os
import shlex
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infra.cli.help import example
from infra.cli.options import Json
from infra.cli.output import print_json, print_page
from tasks.errors import InvalidInput, StackError
from tasks.reports.figures import duration, size
from tasks.reports.page import Column, Marked, Page, Tone, paragraph, table
from tasks.settings import settings

if TYPE_CHECKING:
    from infra.stack.status import StackStatus

_TONES: dict[str, Tone] = {"ready": "good", "failing": "bad", "restarting": "bad"}


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

    found = stack_status(settings())
    if as_json:
        print_json(found)
        raise typer.Exit(0 if found.up else 1)
    print_page(_status(found))
    for program in found.programs:
        if program.log:
            note = f" ({program.note})" if program.note else ""
            print(f"\n{program.name} is {program.state}{note}. The end of its log:\n{program.log}")
    if found.outdated:
        print("\nThe settings have changed since the stack was started: `slipway up` applies them.")
    if found.elsewhere:
        print(f"\n{_elsewhere(found.elsewhere)}")
    raise typer.Exit(0 if found.up else 1)


def _status(found: "StackStatus") -> Page:
    """The stack's programs, and what its replica serves."""
    from tasks.fleet.config import labels_of

    columns = (
        Column("program"),
        Column("state"),
        Column("process", "number"),
        Column("memory", "number"),
        Column("up for"),
        Column("address"),
    )
    programs = [
        (
            p.name,
            Marked(p.state, _TONES.get(p.state, "plain")),
            "" if p.pid is None else str(p.pid),
            "" if p.memory is None else size(p.memory),
            "" if p.uptime is None else duration(p.uptime),
            p.address,
        )
        for p in found.programs
    ]
    served = [
        (
            model,
            str(s.version),
            ", ".join(labels_of(found.labels.get(model, {}), s.version)),
            s.state,
            s.message if s.code != "OK" else "",
        )
        for model, states in found.models.items()
        for s in states
    ]
    models = (Column("model"), Column("version", "number"), Column("labels", "prose"), Column("state"))
    return Page(
        f"Local stack in {found.home}",
        (
            table(columns, programs),
            paragraph(f"{size(found.memory)} in all."),
            *((table((*models, Column("error", "prose")), served),) if served else ()),
        ),
    )


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

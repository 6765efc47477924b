"""How a command fails: one clear message on stderr, and an exit code."""

import contextlib
import functools
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer

from tasks.errors import SlipwayError
from tasks.proxies import stay_local
from tasks.settings import settings
from tasks.wire import WireError

INTERRUPTED = 130  # as a shell reports a program that ended by Ctrl-C

_tracebacks = False
_prefect_is_away = False


def show_tracebacks(wanted: bool) -> None:
    """Whether to show tracebacks of failures from now on."""
    global _tracebacks
    _tracebacks = wanted


def guarded(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, with its failures turned into a message and an exit code.

    The code is 130 for Ctrl-C and 1 for anything else. The traceback of an error that is not in our tree goes to a
    file, which the message names.
    """

    @functools.wraps(function)
    def run(*arguments: Any, **options: Any) -> Any:
        with contextlib.suppress(SlipwayError):  # the command meets it too, and reports it
            stay_local(os.environ, settings().host)
        try:
            return function(*arguments, **options)
        except (SlipwayError, WireError) as error:  # a WireError: TensorFlow is not installed
            if _wants_traceback():
                traceback.print_exc()
            _say(f"slipway: {error}")
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            _say("slipway: interrupted")
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            # The reader of the output has gone. Nothing more can be written, not even when the interpreter ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None
        except Exception as error:
            if isinstance(error, typer.Exit | typer.Abort | typer.TyperException):
                raise
            _say(_prefect_away(error) or _unforeseen(error))
            raise typer.Exit(1) from None

    return run


def leave_if_prefect_is_away(code: object) -> None:
    """End this process at once if it failed because the Prefect server went away.

    Prefect's client would try for minutes to report each step to the server.
    """
    if _prefect_is_away:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)


def _prefect_away(error: Exception) -> str | None:
    """The message if a flow failed because the Prefect server went away; None if it failed otherwise."""
    httpx = sys.modules.get("httpx")  # Prefect's client uses it, and nothing else in a command does
    if httpx is None or not isinstance(error, httpx.HTTPError):
        return None
    global _prefect_is_away
    _prefect_is_away = True
    if _wants_traceback():
        traceback.print_exc()
    outcome = _earlier(error)
    return (
        f"slipway: {f'{outcome} And the' if outcome else 'The'} Prefect server at {settings().prefect_api} does not "
        f"answer any more ({type(error).__name__}), so this run is not recorded to its end. `slipway versions MODEL` "
        "and `slipway history` show how far it came; once the server is back, `slipway reconcile` finishes or undoes "
        "what is left of it."
    )


def _earlier(error: BaseException) -> SlipwayError | None:
    """The error of our tree that was being handled when `error` was raised."""
    before = error.__context__
    while before is not None and not isinstance(before, SlipwayError):
        before = before.__context__
    return before


def _unforeseen(error: Exception) -> str:
    if _wants_traceback():
        traceback.print_exc()
        where = "The traceback is above."
    else:
        where = f"The traceback is in {_keep_traceback()} (`slipway --debug …` shows it)."
    text = " ".join(str(error).split())[:300]
    return f"slipway: unforeseen {type(error).__name__}{f': {text}' if text else ''}. {where}"


def _keep_traceback() -> Path:
    """Write the traceback of the error that is being handled to a file; its path."""
    name = f"slipway-{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}.traceback"
    folders = [Path(tempfile.gettempdir())]
    with contextlib.suppress(SlipwayError):
        folders.insert(0, settings().home / "logs")
    for folder in folders:
        try:
            path = folder / name
            path.write_text(traceback.format_exc())
        except OSError:
            continue
        return path.absolute()
    return Path(os.devnull)


def _wants_traceback() -> bool:
    try:
        return _tracebacks or settings().debug
    except SlipwayError:
        return _tracebacks


def _say(line: str) -> None:
    print(line, file=sys.stderr)

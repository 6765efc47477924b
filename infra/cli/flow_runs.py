"""Running flows in a command's own process, seen in the Prefect UI."""

import contextlib
import importlib
import logging
import os
import threading
from collections.abc import Iterator

from tasks.errors import InvalidSettings
from tasks.settings import Settings, settings
from tasks.store.credentials import credentials

_UNTIL_REPLICAS_LOAD = 2.5  # seconds after which a rollout is about to wait for its replicas


@contextlib.contextmanager
def running_flows() -> Iterator[None]:
    """Run flows in this process, recorded by the Prefect server, with their steps' own log lines on the console.

    Prefect reads its settings while it is imported, and Keras its backend: import flows within the context.

    Raises:
        InvalidSettings: there is no store to deliver to, or no Prefect server answers.
    """
    from tasks.training.modules import use_tensorflow

    mine = settings()
    credentials(mine)  # first: without a local stack, a Prefect server at its port is another stack's
    _require_prefect(mine)
    _set_up_prefect(mine)
    use_tensorflow()
    console = _show_steps()
    _quiet_prefect(mine, console)
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    # Each flow that sends heartbeats waits up to a second at its end for the thread that sends them.
    with _importing_ahead(), temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield


def prefect_answers() -> bool:
    """Whether a Prefect server answers; if so, Prefect works with it once it is imported."""
    mine = settings()
    try:
        _require_prefect(mine)
    except InvalidSettings:
        return False
    _set_up_prefect(mine)
    return True


def _require_prefect(mine: Settings) -> None:
    import requests

    try:
        requests.get(f"{mine.prefect_api}/health", timeout=mine.call_deadline).raise_for_status()
    except requests.RequestException as error:
        raise InvalidSettings(
            f"No Prefect server answers at {mine.prefect_api} ({type(error).__name__}): start the local stack with "
            "`make up`, or set SLIPWAY_PREFECT_URL to an API, whose path mostly ends in /api."
        ) from None


def _set_up_prefect(mine: Settings) -> None:
    """Set Prefect's environment for this process: the server, and what Prefect itself may write to the console."""
    from infra.stack.programs import flow_environment

    if mine.prefect_url is None:
        os.environ.pop("PREFECT_API_AUTH_STRING", None)  # of another server; this one's comes with the profile
    os.environ.update(flow_environment(mine))
    # Prefect's own lines, and its tracebacks, are for its UI. On the console are the steps' lines, and errors in one
    # sentence.
    os.environ.update(
        {
            "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
            "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",
            "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        }
    )
    logging.raiseExceptions = False  # or Prefect writes to stderr whenever it cannot send a log line to its server


def _show_steps() -> logging.Handler:
    """Print the steps' log lines; the handler that does."""
    console = logging.StreamHandler()
    console.setFormatter(logging.Formatter("%(asctime)s  %(message)s", "%H:%M:%S"))
    steps = logging.getLogger("tasks")
    steps.setLevel(logging.INFO)
    steps.addHandler(console)
    return console


def _quiet_prefect(mine: Settings, console: logging.Handler) -> None:
    """Of all that Prefect logs, print where a run can be seen, and once that the server does not answer."""
    # While it is imported Prefect sets up logging, and takes away the handlers that its loggers have: not those below.
    importlib.import_module("prefect.main")
    logging.getLogger("prefect.flow_runs").addHandler(_FirstLine("View at ", console))
    waiting = f"The Prefect server at {mine.prefect_api} does not answer: it is tried again for a while"
    requests_log = logging.getLogger("prefect.client")
    requests_log.setLevel(logging.DEBUG)
    requests_log.addHandler(_FirstLine("Encountered retryable exception", console, waiting))


@contextlib.contextmanager
def _importing_ahead() -> Iterator[None]:
    """Import what draws reports and speaks to MLflow while a rollout waits anyway: it takes seconds."""
    ahead = threading.Timer(_UNTIL_REPLICAS_LOAD, _import, ("matplotlib.figure", "mlflow"))
    ahead.daemon = True
    ahead.start()
    try:
        yield
    finally:
        ahead.cancel()


def _import(*names: str) -> None:
    for name in names:
        importlib.import_module(name)


class _FirstLine(logging.Handler):
    """Passes on the first line that begins so, in its own words or as `instead`, and drops all others."""

    def __init__(self, beginning: str, console: logging.Handler, instead: str | None = None) -> None:
        super().__init__()
        self._beginning, self._instead = beginning, instead
        self._console: logging.Handler | None = console

    def emit(self, record: logging.LogRecord) -> None:
        if self._console is not None and record.getMessage().startswith(self._beginning):
            line = logging.LogRecord(record.name, logging.INFO, "", 0, self._instead or record.getMessage(), (), None)
            self._console.handle(line)
            self._console = None

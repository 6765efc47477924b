"""Running flows in a command's own process, seen in the Prefect UI."""

import contextlib
import importlib
import logging
import os
import threading
from collections.abc import Iterator

from tasks.errors import InvalidSettings
from tasks.settings import settings

_UNTIL_REPLICAS_LOAD = 2.5  # seconds from here to a rollout's first wait, about


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
    from tasks.training.factory import use_tensorflow

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
    use_tensorflow()  # before any library imports Keras
    import prefect.main  # noqa: F401 - sets up logging, and would take the handler away again
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    logging.getLogger("prefect.flow_runs").addHandler(_FirstLine("View at ", console))
    waiting = f"The Prefect server at {api} does not answer: it is tried again for a while"
    requests_log = logging.getLogger("prefect.client")
    requests_log.setLevel(logging.DEBUG)
    requests_log.addHandler(_FirstLine("Encountered retryable exception", console, waiting))
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


class _FirstLine(logging.Handler):
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

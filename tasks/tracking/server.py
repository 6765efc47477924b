"""The MLflow server: calls with deadlines and retries, and its errors as our own."""

import logging
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TypeVar

import stamina

from tasks.errors import InvalidSettings, TrackingError, TrackingUnreachable
from tasks.processes import temporary_folder
from tasks.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

R = TypeVar("R")

TAG_RUN = "slipway.run"  # of Slipway, that an MLflow run or a verdict is a part of
TAG_REASON = "slipway.reason"
LONGEST_TAG = 4000  # characters; MLflow takes 5,000


@dataclass(frozen=True)
class TrackingServer:
    """An MLflow server.

    Requests must be idempotent: an answer may be lost after the work was done.
    """

    uri: str
    deadline: float  # of one call, seconds
    patience: float = 120.0  # for a server that is restarting while there is work to lose, seconds

    @classmethod
    def connect(cls, settings: Settings) -> Self:
        """The server that `settings` name. Nothing is sent yet.

        Raises:
            InvalidSettings: what they name is not a server's URL, or holds a password.
        """
        if "@" in settings.mlflow_uri:
            raise InvalidSettings(
                "SLIPWAY_MLFLOW_URL holds a user's name or password, which would appear in logs and reports: "
                "leave it out, and give it to MLflow's client as MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."
            )
        if not settings.mlflow_uri.startswith(("http://", "https://")):
            raise InvalidSettings(
                f"SLIPWAY_MLFLOW_URL={settings.mlflow_uri!r} is not the URL of an MLflow server: "
                "give one that begins with http:// or https://, or unset it for the local stack's."
            )
        return cls(settings.mlflow_uri.rstrip("/"), settings.call_deadline)

    def ask(self, what: str, act: "Callable[[MlflowClient], R]", tries: int | None = None) -> R:
        """What `act` returns. While the server does not answer, it is tried `tries` times, or (None) for `patience`.

        Args:
            what: completes "the server was asked to …".

        Raises:
            TrackingUnreachable: no answer, or one that a retry may change.
            TrackingError: it refused.
        """
        client, warned = _client(self.uri, self.deadline), False
        for attempt in stamina.retry_context(
            on=TrackingUnreachable,
            attempts=tries,
            timeout=None if tries else self.patience,
            wait_initial=0.2,
            wait_max=5.0,
        ):
            with attempt:
                try:
                    with self._errors_of(what):
                        return act(client)
                except TrackingUnreachable as error:
                    if tries is None and not warned:
                        log.warning("waiting up to %g s: %s", self.patience, error)
                        warned = True
                    raise
        raise AssertionError("the last attempt returns or raises")

    @contextmanager
    def _errors_of(self, what: str) -> Iterator[None]:
        """Translate what MLflow's client raises inside into our own errors."""
        import requests
        from mlflow.exceptions import MlflowException

        try:
            yield
        except requests.RequestException as error:  # from the transfer of an artifact
            status = error.response.status_code if error.response is not None else 500
            raise self._error(what, status, error) from None
        except MlflowException as error:
            status = error.get_http_status_code()  # type: ignore[no-untyped-call]
            raise self._error(what, status, error) from None

    def _error(self, what: str, status: int, error: Exception) -> TrackingError:
        if status >= 500 or status == 429:
            return TrackingUnreachable(
                f"The MLflow server at {self.uri} did not answer within {self.deadline:g} s, or could not do its work, "
                f"when asked to {what}: {_cause(error)}. Start it (`make up` on one machine; `make status` shows how "
                "it is), or name another by SLIPWAY_MLFLOW_URL."
            )
        return TrackingError(
            f"The MLflow server at {self.uri} refused to {what}: {_cause(error)}. "
            "If that is not an MLflow server, or not yours, correct SLIPWAY_MLFLOW_URL."
        )


@contextmanager
def unless(*codes: str) -> Iterator[None]:
    """Suppress an MLflow error inside the block if it has one of these codes."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code not in codes:
            raise


def log_artifact(client: "MlflowClient", run_id: str, name: str, data: bytes) -> None:
    """Write `data` as the file `name` of an MLflow run, over the one before."""
    with temporary_folder("artifact") as folder:
        path = folder / name
        path.write_bytes(data)
        client.log_artifact(run_id, str(path))


def _client(uri: str, deadline: float) -> "MlflowClient":
    # Read when MLflow is imported, which would otherwise send telemetry.
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    from mlflow import MlflowClient, environment_variables

    # The client takes deadlines from here alone; retries are ours, so that a whole step can be tried again.
    environment_variables.MLFLOW_HTTP_REQUEST_TIMEOUT.set(max(1, math.ceil(deadline)))  # type: ignore[no-untyped-call]
    environment_variables.MLFLOW_HTTP_REQUEST_MAX_RETRIES.set(0)  # type: ignore[no-untyped-call]
    environment_variables.MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT.set(True)  # type: ignore[no-untyped-call]
    return MlflowClient(uri, uri)


def _cause(error: Exception) -> str:
    """The innermost error's message, without the chain that led to it."""
    inner = error.__context__ if isinstance(error.__context__, Exception) else error
    reason = getattr(inner.args[0], "reason", None) if inner.args else None
    text = str(reason or error).partition("\n")[0]
    return text.rpartition(": ")[2] if reason is not None else text[:500]

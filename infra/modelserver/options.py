"""What the REST application is told at its making."""

from dataclasses import dataclass

from infra.modelserver.dispatch import Dispatcher
from infra.modelserver.metrics import Metrics


@dataclass(frozen=True, slots=True)
class RestOptions:
    """How the REST application behaves.

    timeout is seconds for one request (--rest_api_timeout_in_ms); monitoring_path is None where metrics are off;
    enable_cors adds `Access-Control-Allow-Origin: *`; log_requests writes one line per request; refuse_pages answers no
    request of a web page.
    """

    dispatcher: Dispatcher
    metrics: Metrics
    timeout: float = 30.0
    monitoring_path: str | None = None
    enable_cors: bool = False
    log_requests: bool = False
    refuse_pages: bool = False

"""What a run's parameters may name, by who set them."""

from prefect.runtime import deployment

from tasks.limits import Limits
from tasks.settings import settings


def limits() -> Limits | None:
    """What this run's parameters may name.

    A deployment's run is bounded by the settings, since anyone who reaches the Prefect API can start one. A flow that
    is called in the caller's own process, as `slipway` does, may name anything (None).
    """
    return Limits.of(settings()) if deployment.id else None

"""Whose word a run's parameters are."""

from prefect.runtime import deployment

from tasks.limits import Limits
from tasks.settings import settings


def limits() -> Limits | None:
    """What this run's parameters may name: what the settings allow to the runs of deployments, which anyone who reaches
    the Prefect API can begin; anything (None) if a flow is called in a process of the caller's own, as `slipway` does.
    """
    return Limits.of(settings()) if deployment.id else None

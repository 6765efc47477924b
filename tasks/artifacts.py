"""Reports where people look for them: beside the run in the Prefect UI."""

import logging

import httpx
from prefect.artifacts import create_markdown_artifact
from prefect.context import FlowRunContext, TaskRunContext
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from tasks import reports

log = logging.getLogger(__name__)

_RETRIES = 2  # that a report is worth, while a delivery waits: 6 seconds


def show(markdown: str, description: str, *key: str) -> None:
    """Keep a report with the Prefect run that this is part of; outside of one, nothing is kept.

    Reports decide nothing, so a Prefect server that is away holds up no delivery.

    Args:
        key: parts of the artifact's key; a later report under the same key is shown as its next version.
    """
    if TaskRunContext.get() is None and FlowRunContext.get() is None:
        return
    try:
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: _RETRIES}):
            create_markdown_artifact(markdown, key=reports.artifact_key(*key), description=description)
    except httpx.HTTPError as error:
        log.warning("The Prefect server did not take the report %r (%s).", description, type(error).__name__)

"""Reports beside their runs in the Prefect UI."""

import logging
from dataclasses import dataclass

import httpx
from prefect.artifacts import create_markdown_artifact
from prefect.context import FlowRunContext, TaskRunContext
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from tasks.reports import markdown
from tasks.reports.page import Page

log = logging.getLogger(__name__)

_RETRIES = 2  # a delivery waits for them: 6 seconds


@dataclass(frozen=True)
class Report:
    """A page to be kept with a run."""

    page: Page
    description: str
    key: tuple[str, ...]  # parts of its key; a later report under the same key becomes its next version


def show(report: Report) -> None:
    """Keep a report with the Prefect run that this is part of; outside a run, do nothing.

    Reports decide nothing, so a Prefect server that is away delays no delivery.
    """
    if TaskRunContext.get() is None and FlowRunContext.get() is None:
        return
    try:
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: _RETRIES}):
            create_markdown_artifact(
                markdown.render(report.page), key=markdown.artifact_key(*report.key), description=report.description
            )
    except httpx.HTTPError as error:
        log.warning("The Prefect server did not take the report %r (%s).", report.description, type(error).__name__)

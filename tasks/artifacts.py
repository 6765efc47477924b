"""Reports where people look for them: beside the run in the Prefect UI."""

import logging

from prefect.artifacts import create_markdown_artifact
from prefect.context import FlowRunContext, TaskRunContext

from tasks import reports

log = logging.getLogger(__name__)


def show(markdown: str, description: str, *key: str) -> None:
    """Keep a report with the Prefect run that this is part of; outside of one, nothing is kept.

    Args:
        key: parts of the artifact's key; a later report under the same key is shown as its next version.
    """
    if TaskRunContext.get() is None and FlowRunContext.get() is None:
        return
    create_markdown_artifact(markdown, key=reports.artifact_key(*key), description=description)

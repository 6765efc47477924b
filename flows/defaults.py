"""Defaults of the flows' parameters, which the forms of the Prefect UI show."""

from tasks.settings import settings

FLEET = settings().fleet

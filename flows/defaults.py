"""What flows take where nothing else is said; the forms of the Prefect UI show it."""

from tasks.settings import settings

FLEET = settings().fleet

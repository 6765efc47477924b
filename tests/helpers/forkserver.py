"""Processes that are forked from one which has imported everything: they begin at once, and may be killed."""

import multiprocessing
from multiprocessing.context import ForkServerContext

# One process is forked from for a whole session, by whoever comes first: it imports what any of them needs.
_IMPORTED = ["tests.helpers.killable", "tests.helpers.releases", "flows.release", "mlflow"]


def context() -> ForkServerContext:
    """Where such processes are made."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(_IMPORTED)
    return found

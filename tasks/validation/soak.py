"""Soaking a version on trial: for a while it must go on answering as it did at first."""

import dataclasses
import logging
import time
from collections.abc import Sequence

from tasks.policy import Policy
from tasks.records import ReplicaReport
from tasks.serving.client import Target
from tasks.store.base import Store
from tasks.validation.checks.base import Expected
from tasks.validation.validate import validate_version
from tasks.versions import catalog

log = logging.getLogger(__name__)

_PAUSE = 0.5  # seconds between two rounds


def soak_time(store: Store, model: str, version: int, policy: Policy) -> float:
    """How long a version soaks by a strategy that has it soak, seconds.

    0 if the version was accepted before, so that a rollback is quick.
    """
    verdict = catalog.verdict(store, model, version)
    proven = verdict is not None and verdict.state == "accepted"
    return 0.0 if proven else policy.soak


def soak(expected: Expected, target: Target, asked: Sequence[ReplicaReport], seconds: float) -> None:
    """Ask these replicas for the golden examples again and again, while clients may ask `target` too.

    Raises:
        ValidationFailed: an answer was wrong, or late.
        ServingUnreachable: a replica gave no answer, which says nothing about the version.
    """
    expected = dataclasses.replace(expected, live=None, held_out=None)
    rounds, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(_PAUSE)
        validate_version(expected, asked, target).require_passed()
        rounds += 1
    log.info("%s: asked %d times in %g s, all right", target, rounds, seconds)

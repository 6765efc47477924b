"""Telling work that may take long from work that may not: on an event loop, long work delays every other request."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

QUICK_SECONDS = 0.002
_LEAST_SECONDS = 0.00025

_thread = threading.local()


def expected(before: float, seconds: float) -> float:
    """A new estimate, in seconds, of how long work of a kind takes: `before` was expected, and it took `seconds`.

    On a busy machine even the quickest work sometimes takes long. So the estimate falls at once but rises by a quarter
    at a time: it takes ten slow runs in a row before quick work is no longer taken for quick.
    """
    return max(_LEAST_SECONDS, min(seconds, 1.25 * before))


class WouldBlock(Exception):
    """Work that may take long was begun on a thread that must not block. Nothing has been done; do it on another."""


@contextmanager
def nothing_may_block() -> Iterator[None]:
    """Within the context, this thread's work raises WouldBlock instead of taking long."""
    _thread.must_not = True
    try:
        yield
    finally:
        _thread.must_not = False


def check_may_block() -> None:
    """Call before work that may take long.

    Raises:
        WouldBlock: this thread is within `nothing_may_block`.
    """
    if getattr(_thread, "must_not", False):
        raise WouldBlock

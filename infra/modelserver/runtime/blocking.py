"""Where work may take long, and where it must not: on an event loop it would keep every other request waiting."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

QUICK_SECONDS = 0.002
_LEAST_SECONDS = 0.00025

_thread = threading.local()


def expected(before: float, seconds: float) -> float:
    """How long work of a kind should take, after it took `seconds` where `before` was expected.

    On a busy machine some of the quickest work takes long, so one quick turn counts for more than one slow one: ten
    slow ones in a row are needed before quick work no longer counts as such.
    """
    return max(_LEAST_SECONDS, min(seconds, 1.25 * before))


class WouldBlock(Exception):
    """Work that may take long was begun where nothing may block. Nothing has been done; do it elsewhere."""


@contextmanager
def nothing_may_block() -> Iterator[None]:
    """Within, this thread's work raises WouldBlock instead of taking long."""
    _thread.must_not = True
    try:
        yield
    finally:
        _thread.must_not = False


def check_may_block() -> None:
    """Raise WouldBlock where nothing may block."""
    if getattr(_thread, "must_not", False):
        raise WouldBlock

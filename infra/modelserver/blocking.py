"""Where work may take long, and where it must not: on an event loop it would keep every other request waiting."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_thread = threading.local()


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

"""What may run on the event loop, where long work delays every other request: decided here, for REST and for runs.

A request is answered there if its body is small, if such work was quick before, and if its model's run is known to be
quick: one whose time depends on the shapes of its inputs alone (`graphs.bounded`), and that was quick, with a small
answer, for these shapes before. The first two are asked before the work begins. The last is known only in its midst: so
work that turns out long raises WouldBlock, and is begun again in a thread.
"""

import math
import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

SMALL_BYTES = 1 << 16  # of a body, or of an answer
_QUICK_SECONDS = 0.002
_LEAST_SECONDS = 0.00025
_KINDS = 1024
_TURNS = 20

_thread = threading.local()


class Pace:
    """How long work of each kind is expected to take, judging by earlier turns. Thread-safe.

    On a busy machine even the quickest work sometimes takes long. So what is expected falls at once but rises by a
    quarter at a time: it takes ten slow turns in a row before quick work is no longer taken for quick.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seconds: OrderedDict[Hashable, float] = OrderedDict()  # by kind, latest used last
        self._put_off: dict[Hashable, int] = {}

    def is_quick(self, kind: Hashable) -> bool:
        """Whether work of this kind is expected to take under 2 ms; not if it is not known, or was put off."""
        turns = self._put_off.pop(kind, 0)
        if turns > 1:
            self._put_off[kind] = turns - 1
        return not turns and self._seconds.get(kind, math.inf) < _QUICK_SECONDS

    def put_off(self, kind: Hashable) -> None:
        """Take work of this kind for slow the next 20 times that it is asked: it raised WouldBlock."""
        self._put_off[kind] = _TURNS

    def record(self, kind: Hashable, seconds: float) -> None:
        """Note how long a turn took; infinity for one that may not run on the loop, however long it takes."""
        with self._lock:
            self._seconds[kind] = max(_LEAST_SECONDS, min(seconds, 1.25 * self._seconds.pop(kind, math.inf)))
            if len(self._seconds) > _KINDS:
                self._seconds.popitem(last=False)


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

"""Reading heavy requests one after another, with rests between them.

simdjson and protobuf keep the interpreter for themselves while they parse, 5 ms for each megabyte of JSON, and a body
may need fifteen times its size meanwhile. Done for several clients at once, that would leave neither time nor memory to
those who ask for little.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from infra.modelserver.errors import Code, StatusError

HEAVY_BYTES: Final = 1 << 20  # from which on a body or message is read in turn
_HEAVY_NESTING: Final = 10_000  # arrays and objects from which on a JSON body is, too: each becomes Python's
MOST_ZIPPED: Final = 1032  # bytes that one byte of deflate may become
_LONGEST_REST: Final = 0.5  # seconds


def is_heavy(body: bytes, most: int) -> bool:
    """Whether a JSON body, which is up to `most` bytes once it is unpacked, is read in turn."""
    return most > HEAVY_BYTES or (len(body) > _HEAVY_NESTING and body.count(b"[") + body.count(b"{") > _HEAVY_NESTING)


class Turns:
    """Who reads a heavy request, one at a time. Thread-safe."""

    def __init__(self) -> None:
        self._turn = threading.BoundedSemaphore(1)
        self._rested = 0.0  # by the monotonic clock: when the next one may begin

    @contextmanager
    def turn(self, timeout: float | None) -> Iterator[None]:
        """The caller's turn; before it, others have had as much time as the turn before took.

        Args:
            timeout: seconds to wait for it; None for no limit.

        Raises:
            StatusError: DEADLINE_EXCEEDED; the turn did not come.
        """
        if not self._turn.acquire(timeout=None if timeout is None else min(timeout, threading.TIMEOUT_MAX)):
            raise StatusError(Code.DEADLINE_EXCEEDED, "Timed out waiting for notification")
        try:
            time.sleep(max(0.0, self._rested - time.monotonic()))
            began = time.monotonic()
            try:
                yield
            finally:
                ended = time.monotonic()
                self._rested = ended + min(ended - began, _LONGEST_REST)
        finally:
            self._turn.release()

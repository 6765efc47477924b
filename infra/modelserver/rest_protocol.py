"""uvicorn's HTTP protocol, taking request bodies in large pieces.

uvicorn pauses the socket and wakes the application every 64 KB. Waking it when the body is whole, or a megabyte of it
is there, more than halves what a predict request of 32 digits (250 KB) costs before it is parsed.
"""

from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

PIECE_BYTES: Final = 1 << 20
WAKE_SECONDS: Final = 1.0  # a slow client's progress shows this often, or it would look idle


class RestProtocol(HttpToolsProtocol):
    """The protocol class for `uvicorn.Config(http=…)`."""

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self._woken = 0.0

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._woken = self.loop.time()

    def on_body(self, body: bytes) -> None:
        """Some of the body has arrived."""
        cycle = self.cycle
        if cycle.response_complete:
            return
        cycle.body += body
        now = self.loop.time()
        if len(cycle.body) > PIECE_BYTES:
            self.flow.pause_reading()
        elif now - self._woken < WAKE_SECONDS:
            return
        self._woken = now
        cycle.message_event.set()

"""HTTP for the REST API: uvicorn's protocol, adapted to serving models.

Bodies are large: uvicorn pauses the socket and wakes the application every 64 KB. Waking it when the body is whole, or
a megabyte of it is there, more than halves what a predict request of 32 digits (250 KB) costs before it is parsed.

Replies are small: head and body go out in one piece, while uvicorn would write, and wake the client, twice.

Clients offer to upgrade: Java's HttpClient sends `Upgrade: h2c` with its first POST, after which uvicorn's parser takes
the body for another protocol. The offer is ignored, as RFC 9110 allows and TensorFlow Serving does.
"""

import asyncio
import re
from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

PIECE_BYTES: Final = 1 << 20
WAKE_SECONDS: Final = 1.0  # how often a slow client's progress is noted, or it would look idle

_UPGRADE = re.compile(rb"\r\nupgrade(?=[ \t]*:)", re.IGNORECASE)


class _JoinedReply:
    """What uvicorn writes one reply to: the transport, but it holds the head back until the body comes."""

    __slots__ = ("_head", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head: bytes | None = None

    def write(self, data: bytes) -> None:
        if self._head is None and data.startswith(b"HTTP/1.1 ") and not data.startswith(b"HTTP/1.1 100 "):
            self._head = data
        else:
            self._transport.writelines([self._take_head(), data])

    def close(self) -> None:
        head = self._take_head()
        if head:
            self._transport.write(head)
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def _take_head(self) -> bytes:
        head, self._head = self._head or b"", None
        return head


class RestProtocol(HttpToolsProtocol):
    """The protocol class for `uvicorn.Config(http=…)`."""

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self._woken = 0.0
        self._in_head = True

    def data_received(self, data: bytes) -> None:
        """Some bytes have arrived."""
        if self._in_head and _UPGRADE.search(data):
            data = _UPGRADE.sub(b"\r\nx-offer", data, count=1)
        super().data_received(data)

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._woken = self.loop.time()

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._in_head = False
        super().on_headers_complete()
        self.cycle.transport = cast(asyncio.Transport, _JoinedReply(self.transport))

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

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._in_head = True
        super().on_message_complete()

"""HTTP/1.1 for the REST API: from a connection's bytes to requests, and from replies to bytes.

httptools reads the heads. A body is kept in the pieces that come until it is whole: it may have hundreds of megabytes.
A reply's head and body go out in one piece, which wakes the client once. A client's requests are answered one after
another, in their order.

Clients offer to upgrade: Java's HttpClient sends `Upgrade: h2c` with its first POST. The offer is passed over, as RFC
9110 allows and TensorFlow Serving does.
"""

import asyncio
import logging
import os
import resource
from collections import deque
from collections.abc import Awaitable
from dataclasses import dataclass, field, replace
from http.client import responses
from typing import Final, Protocol, cast

import httptools

log = logging.getLogger(__name__)

MAX_BODY_BYTES: Final = 2**31 - 1  # as over gRPC
MAX_HEAD_BYTES: Final = 64 << 10  # as TensorFlow Serving's own server has it; and of what lies between pieces of a body
# Of all clients' requests that are received or answered: a body is joined and read, and so held two or three times.
MAX_BODIES_BYTES: Final = min(4 << 30, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 8)
MAX_CONNECTIONS: Final = min(10_000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)  # the rest: models, gRPC
SLOWEST: Final = 1024  # bytes a second that a body must come with, after its first IDLE_SECONDS
IDLE_SECONDS: Final = 50.0  # libevent's time-out for a client that stops in the middle of its request
KEPT_SECONDS: Final = 75.0  # that a connection may lie idle between two requests

Headers = tuple[tuple[bytes, bytes], ...]

_CLOSE: Final = (b"connection", b"close")
_HTML: Final = ((b"content-type", b"text/html"), _CLOSE)
_PHRASES: Final = {408: "Request Time-out", 413: "Request Entity Too Large"}  # libevent's, where they are not Python's


@dataclass(slots=True)
class Request:
    """One HTTP request. uri is the path with its query, as it was sent; headers' names are in lower case."""

    method: str
    uri: str
    headers: list[tuple[bytes, bytes]]
    keep_alive: bool
    pieces: list[bytes] = field(default_factory=list)
    size: int = 0

    def header(self, name: bytes) -> bytes:
        """The first value of a header; empty if it is not there."""
        return next((value for key, value in self.headers if key == name), b"")

    def body(self) -> bytes:
        """The body, whole."""
        if len(self.pieces) != 1:
            self.pieces = [b"".join(self.pieces)]
        return self.pieces[0]


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP reply. The connection is closed after it if its headers say so."""

    status: int
    headers: Headers = ()
    body: bytes = b""


class App(Protocol):
    """What answers requests."""

    def refusal(self, request: Request) -> Reply | None:
        """The reply to a request that is refused by its head; None for others."""

    def answer(self, request: Request) -> Awaitable[Reply]:
        """The reply to a request whose body is there."""


def page(status: int) -> Reply:
    """The page that libevent sends for a request that no handler takes; the connection is closed after it."""
    phrase = _PHRASES.get(status) or responses[status]
    text = f"<HTML><HEAD>\n<TITLE>{status} {phrase}</TITLE>\n</HEAD><BODY>\n<H1>{phrase}</H1>\n</BODY></HTML>\n"
    return Reply(status, _HTML, text.encode())


class Connection(asyncio.Protocol):
    """One client's connection, used by the loop's thread alone."""

    def __init__(
        self, app: App, connections: "set[Connection]", idle: float = IDLE_SECONDS, kept: float = KEPT_SECONDS
    ) -> None:
        """It is in `connections` while it is open. idle and kept are in seconds, as IDLE_SECONDS and KEPT_SECONDS."""
        self._app, self._connections, self._idle, self._kept = app, connections, idle, kept
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._request: Request | None = None  # that is still coming
        self._ready: deque[Request | Reply] = deque()  # whole requests, and refusals, in their order
        self._answering: asyncio.Task[None] | None = None
        self._reading = self._writable = True
        self.held = 0  # bytes of bodies that were received for requests that are not answered yet
        self._begun: float | None = None  # when a head began that is not whole yet
        self._unbroken = 0  # bytes since a head was whole, or a piece of a body was there
        self._deaf = False  # whether what is sent further is not read
        self._unsent = 0  # bytes of replies that the client had not taken at the last look
        self._closing = False  # whether the connection ends when all is answered
        self._bodily: float | None = None  # when the head was whole of the request that is still coming

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is open."""
        self._transport = cast(asyncio.Transport, transport)
        self._heard = self._loop.time()
        if len(self._connections) >= MAX_CONNECTIONS:  # the one that has been silent for longest makes room
            silent = [one for one in self._connections if one._answering is None and not one._ready]
            min(silent, key=lambda one: one._heard, default=self)._transport.abort()
        self._connections.add(self)
        self._timer = self._loop.call_later(self._idle, self._check_idle)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The connection is gone; what is under way is finished for nobody."""
        self._connections.discard(self)
        self._timer.cancel()
        self._ready.clear()
        self._deaf = True
        del self._parser  # which knows this object

    def eof_received(self) -> bool:
        """The client sends nothing more: what it has asked is answered, and then the connection ends."""
        self._closing = True
        if not self._deaf and (self._request is not None or self._begun is not None):  # it will never be whole
            self.held -= self._request.size if self._request is not None else 0
            self._request, self._begun, self._deaf = None, None, True
        return self._answering is not None or bool(self._ready)

    def data_received(self, data: bytes) -> None:
        """Some bytes have arrived."""
        self._heard = self._loop.time()
        self._unbroken += len(data)
        while data and not self._deaf:
            try:
                self._parser.feed_data(data)
                if self._unbroken > MAX_HEAD_BYTES:
                    self._refuse(page(400))
                break
            except httptools.HttpParserUpgrade as offer:
                data = self._without_offer() + data[offer.args[0] :]
            except httptools.HttpParserError:
                self._refuse(page(400))
        if self._ready and self._reading and not self._deaf:  # one request at a time
            self._reading = False
            self._transport.pause_reading()

    def _without_offer(self) -> bytes:
        """The head that ended with an offer, without it, for a new parser: the old one takes no more."""
        request = self._request
        if request is None or request.method == "CONNECT":
            self._refuse(page(501))
            return b""
        version = self._parser.get_http_version().encode()
        self._parser = httptools.HttpRequestParser(self)
        lines = [b"%s: %s\r\n" % header for header in request.headers if header[0] != b"upgrade"]
        return b"%s %s HTTP/%s\r\n%s\r\n" % (request.method.encode(), self._url, version, b"".join(lines))

    # What the parser calls

    def on_message_begin(self) -> None:
        """A request begins."""
        self._begun = self._loop.time()
        self._url, self._headers = b"", list[tuple[bytes, bytes]]()

    def on_url(self, url: bytes) -> None:
        """A part of the URL."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        if self._request is not None:  # a trailer, behind the body
            return
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The head is whole."""
        parser, self._unbroken, self._begun = self._parser, 0, None
        if self._deaf:
            return
        if len(self._url) + sum(len(name) + len(value) for name, value in self._headers) > MAX_HEAD_BYTES:
            self._refuse(page(400))
            return
        keep = parser.get_http_version() != "1.0" and parser.should_keep_alive()
        url = httptools.parse_url(self._url)
        uri = url.path + b"?" + url.query if url.query else url.path
        request = Request(parser.get_method().decode(), uri.decode("latin-1"), self._headers, keep)
        self._request = request
        if parser.should_upgrade():
            return
        declared = request.header(b"content-length")
        self._bodily = self._loop.time()
        refusal = self._refusal(request)
        if refusal is None and declared.isdigit() and int(declared[:12]) > MAX_BODY_BYTES:
            refusal = page(413)
        if refusal is not None:
            self._refuse(refusal)
        elif (
            request.header(b"expect").lower() == b"100-continue"
            and parser.get_http_version() != "1.0"  # which knows no such reply
            and self._answering is None  # or the order is lost
        ):
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _refusal(self, request: Request) -> Reply | None:
        try:
            refusal = self._app.refusal(request)
        except Exception:
            log.exception("%s %s failed", request.method, request.uri)
            refusal = page(500)
        if refusal is not None and request.method == "HEAD":
            return replace(refusal, body=b"")
        return refusal

    def on_body(self, body: bytes) -> None:
        """Some of the body has arrived."""
        request, self._unbroken = self._request, 0
        if request is None:  # it was refused
            return
        before = request.size >> 20
        request.pieces.append(body)
        request.size += len(body)
        self.held += len(body)
        if request.size > MAX_BODY_BYTES:
            self._refuse(page(413))
        elif request.size >> 20 > before and sum(c.held for c in self._connections) > MAX_BODIES_BYTES:
            self._refuse(page(503))

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._unbroken = 0
        if self._request is not None and not self._parser.should_upgrade():
            self._ready.append(self._request)
            self._request = None
            self._proceed()

    # Answering

    def _refuse(self, reply: Reply) -> None:
        """Reply when all requests before are answered, and read nothing more."""
        self.held -= self._request.size if self._request is not None else 0
        self._request, self._deaf, self._begun = None, True, None
        self._ready.append(reply)
        self._proceed()

    def _proceed(self) -> None:
        """Answer the next request if the one before is answered, and the client takes what is sent."""
        if self._answering is not None or not self._writable:
            return
        if self._ready:
            self._answering = self._loop.create_task(self._answer(self._ready.popleft()))
        elif not self._reading:
            self._reading = True
            self._transport.resume_reading()

    async def _answer(self, asked: Request | Reply) -> None:
        if isinstance(asked, Reply):
            self._send(asked, keep_alive=False)
        else:
            try:
                reply = await self._app.answer(asked)
            except Exception:
                log.exception("%s %s failed", asked.method, asked.uri)
                reply = page(500)
            self._send(reply, keep_alive=asked.keep_alive, has_body=asked.method != "HEAD")
            self.held -= asked.size
        self._answering = None
        self._heard = self._loop.time()
        self._proceed()

    def _send(self, reply: Reply, *, keep_alive: bool, has_body: bool = True) -> None:
        if self._transport.is_closing():
            return
        status = b"HTTP/1.1 %d %s" % (reply.status, responses.get(reply.status, "").encode())
        lines = [status, *[b"%s: %s" % header for header in reply.headers], b"content-length: %d" % len(reply.body)]
        closes = _CLOSE in reply.headers or not keep_alive or (self._closing and not self._ready)
        if closes and _CLOSE not in reply.headers:
            lines.append(b"connection: close")
        self._transport.writelines([b"\r\n".join(lines) + b"\r\n\r\n", reply.body if has_body else b""])
        if closes:
            self._ready.clear()
            self._deaf = True
            self._transport.close()

    # Waiting and ending

    def pause_writing(self) -> None:
        """The client does not take what is sent: nothing more is answered to it."""
        self._writable = False

    def resume_writing(self) -> None:
        """The client takes it again."""
        self._writable = True
        self._proceed()

    def _check_idle(self) -> None:
        """End a connection whose client stopped in the middle of a request, takes no reply, or asks nothing more."""
        unsent = self._transport.get_write_buffer_size()
        if unsent < self._unsent:
            self._heard = self._loop.time()
        self._unsent = unsent
        limit = self._idle if self._request is not None else self._kept
        left = self._heard + limit - self._loop.time()
        if self._begun is not None:  # a head that comes byte by byte has no longer than one that stops
            left = min(left, self._begun + self._idle - self._loop.time())
        elif self._request is not None and self._bodily is not None:  # nor a body
            left = min(left, self._bodily + self._idle + self._request.size / SLOWEST - self._loop.time())
        if left <= 0 and unsent:
            self._transport.abort()
            return
        if left <= 0 and self._answering is None and not self._ready:
            if self._request is not None or self._begun is not None:
                self._refuse(page(408))
            else:
                self._transport.close()
        self._timer = self._loop.call_later(min(max(left, self._idle / 10), self._idle), self._check_idle)

    def shut_down(self) -> None:
        """Close the connection, once the requests under way are answered."""
        self._closing = True
        if self._answering is None and self._request is None:
            self._transport.close()

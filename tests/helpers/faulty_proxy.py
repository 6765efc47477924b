"""A proxy before a store that treats some requests as a bad network, or a store in trouble, would."""

import contextlib
import http.client
import itertools
import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FAULTS = ("500", "503", "silence", "cut before the answer", "cut in the answer", "answer lost")
_ERRORS = {"500": (500, "InternalError"), "503": (503, "SlowDown")}
_PATIENCE = 60  # seconds that a connection may be without a sign of life


class FaultyProxy:
    """Hands requests to the store at `port` on this machine as they are: they are signed, their Host header too."""

    def __init__(self, port: int, seed: int) -> None:
        self.upstream = port
        self.seen: Counter[str] = Counter()
        self._random, self._lock, self._share = random.Random(seed), threading.Lock(), 0.0
        self._kinds = itertools.cycle(FAULTS)
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.proxy = self
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

    @contextmanager
    def faulty(self, share: float) -> Iterator[None]:
        """Let this share of the requests meet a fault, each kind in its turn."""
        self._share = share
        try:
            yield
        finally:
            self._share = 0.0

    def fault(self) -> str | None:
        """What is to happen to the next request; None: nothing."""
        with self._lock:
            kind = next(self._kinds) if self._random.random() < self._share else None
            self.seen[kind or "none"] += 1
            return kind


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    proxy: FaultyProxy

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are what this is for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _PATIENCE
    server: _Server

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def handle_any(self) -> None:
        """Answer one request, or do not."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.server.proxy.fault()
        if fault in _ERRORS:
            self._refuse(*_ERRORS[fault])
        elif fault == "silence":
            self._until_it_hangs_up()
        elif fault == "cut before the answer":
            self.close_connection = True
        else:
            answer, content = self._forward(body)
            if fault == "answer lost":
                self.close_connection = True
            else:
                self._answer(answer, content, whole=fault is None)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any

    def _forward(self, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.proxy.upstream, timeout=_PATIENCE)
        try:
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in ("expect", "connection"):
                    upstream.putheader(name, value)
            upstream.endheaders(body)
            answer = upstream.getresponse()
            return answer, answer.read()
        finally:
            upstream.close()

    def _answer(self, answer: http.client.HTTPResponse, content: bytes, *, whole: bool) -> None:
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        if answer.status != 204:
            self.send_header("Content-Length", str(len(content)))
        if whole:
            self.end_headers()
            self.wfile.write(content)
        elif content:
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])
        else:
            self.flush_headers()  # without the empty line that ends them
        self.close_connection = self.close_connection or not whole

    def _refuse(self, status: int, code: str) -> None:
        content = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>No.</Message></Error>'
        self.send_response_only(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content.encode())

    def _until_it_hangs_up(self) -> None:
        self.close_connection = True
        self.connection.settimeout(_PATIENCE)
        with contextlib.suppress(TimeoutError):
            self.connection.recv(1)

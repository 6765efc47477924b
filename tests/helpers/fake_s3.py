"""A small object store over HTTP, which misbehaves when a test asks for it. It checks no signatures."""

import threading
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tasks.settings import Settings
from tasks.store.base import Store
from tasks.store.connect import connect


@dataclass
class Asked:
    """One request as it came."""

    method: str
    key: str
    headers: dict[str, str]


# Answers a request by itself, or returns False to have it answered as ever.
Fault = Callable[["Handler", Asked], bool]


@dataclass
class FakeS3:
    """What lies in it, what was asked of it, and how it misbehaves."""

    objects: dict[str, bytes] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    conditional: bool = True  # whether it knows If-None-Match
    ranges: bool = True
    fault: Fault = lambda _handler, _asked: False
    lock: threading.Lock = field(default_factory=threading.Lock)
    port: int = 0

    def store(self, **changes: object) -> Store:
        """A store that lies here."""
        return connect(
            Settings(
                s3_endpoint=f"http://127.0.0.1:{self.port}",
                s3_access_key="key",
                s3_secret_key="secret",
                signing="off",
                call_deadline=2.0,
            ).model_copy(update=changes)
        )


class Handler(BaseHTTPRequestHandler):
    """Answers for the fake that its server belongs to."""

    protocol_version = "HTTP/1.1"
    fake: FakeS3

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_PUT(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def _answer(self) -> None:
        key = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path).split("/", 2)[2]
        asked = Asked(self.command, key, dict(self.headers.items()))
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.fake.asked.append(asked)
        if not self.fake.fault(self, asked):
            getattr(self, f"_{self.command.lower()}")(asked, body)

    def _put(self, asked: Asked, body: bytes) -> None:
        with self.fake.lock:
            taken = asked.key in self.fake.objects and asked.headers.get("If-None-Match") == "*"
            if not (taken and self.fake.conditional):
                self.fake.objects[asked.key] = body
        if taken and self.fake.conditional:
            self.fail(412, "PreconditionFailed")
        else:
            self.reply(200, b"", ETag='"0"')

    def _get(self, asked: Asked, _: bytes) -> None:
        data = self.fake.objects.get(asked.key)
        span = asked.headers.get("Range", "").removeprefix("bytes=")
        if data is None:
            self.fail(404, "NoSuchKey")
        elif span and self.fake.ranges and int(span.partition("-")[0]) >= len(data):
            self.fail(416, "InvalidRange")
        elif span and self.fake.ranges:
            start, end = span.split("-")
            part = data[int(start) : int(end) + 1 if end else None]
            self.reply(206, part, Content_Range=f"bytes {start}-{int(start) + len(part) - 1}/{len(data)}")
        else:
            self.reply(200, data)

    def _delete(self, asked: Asked, _: bytes) -> None:
        self.fake.objects.pop(asked.key, None)
        self.reply(204, b"")

    def reply(self, status: int, body: bytes, promised: int | None = None, **headers: str) -> None:
        """Send `body`; with `promised`, break off after it though so many bytes were announced."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body) if promised is None else promised))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = promised is not None

    def fail(self, status: int, code: str) -> None:
        """Send an error as S3 words it."""
        self.reply(status, f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>".encode())


@contextmanager
def serving() -> Iterator[FakeS3]:
    """A fake that answers on loopback."""
    fake = FakeS3()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"fake": fake}))
    fake.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

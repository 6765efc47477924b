"""The REST application: from a request's head and body to a reply."""

import asyncio
import logging
import re
import time
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias

from infra.modelserver.errors import Code, as_status, failed_precondition, invalid_argument
from infra.modelserver.inference import examples
from infra.modelserver.inference.predict import predict
from infra.modelserver.lifecycle.manager import Manager
from infra.modelserver.metrics import Metrics
from infra.modelserver.rest import encode, paths
from infra.modelserver.rest.browsers import from_page
from infra.modelserver.rest.dispatch import Dispatcher
from infra.modelserver.rest.examples import fill_request
from infra.modelserver.rest.json_text import valid_text
from infra.modelserver.rest.memory import keep_freed_memory
from infra.modelserver.rest.numbers import number_inputs
from infra.modelserver.rest.parser import Document
from infra.modelserver.rest.paths import Route
from infra.modelserver.rest.tensors import predict_inputs
from infra.modelserver.runtime import c_api
from infra.modelserver.runtime.servable import DEFAULT_SIGNATURE, TensorInfo
from tasks.wire.dtypes import Array, DataType
from tasks.wire.protos import ClassificationRequest, RegressionRequest

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RestOptions:
    """How the REST application behaves.

    timeout is in seconds, for one request (--rest_api_timeout_in_ms); monitoring_path is None if metrics are off;
    enable_cors adds `Access-Control-Allow-Origin: *`; log_requests writes one line per request; refuse_pages refuses
    requests that web pages make.
    """

    dispatcher: Dispatcher
    metrics: Metrics
    timeout: float = 30.0
    monitoring_path: str | None = None
    enable_cors: bool = False
    log_requests: bool = False
    refuse_pages: bool = False


Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_BODY_BYTES: Final = 2**31 - 1  # as over gRPC
MAX_UNZIPPED_BYTES: Final = 100 * 2**20  # gzip_zlib.h, kMaxUncompressedBytes
IDLE_SECONDS: Final = 50.0  # libevent's time-out for a client that stops in the middle of its request

_METHODS: Final = frozenset(("GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"))
_JSON: Final = (b"content-type", b"application/json")
_TEXT: Final = (b"content-type", b"text/plain")
_HTML: Final = ((b"content-type", b"text/html"), (b"connection", b"close"))
_CORS: Final = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"POST, GET"),
    (b"access-control-allow-headers", b"Content-Type"),
)
_PAGE_REFUSED: Final = (
    b'{"error": "Web pages may not ask this server: --rest_api_enable_cors_support would let every page. '
    b'Programs name it localhost, or by its address."}'
)
_PHRASES: Final = {
    400: "Bad Request",
    404: "Not Found",
    408: "Request Time-out",
    413: "Request Entity Too Large",
    501: "Not Implemented",
}


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP reply."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""


def make_app(manager: Manager, options: RestOptions) -> App:
    """The ASGI application that answers for a manager's models."""
    keep_freed_memory()
    return _RestApp(manager, options)


class _RestApp:
    def __init__(self, manager: Manager, options: RestOptions) -> None:
        self._manager, self._options = manager, options
        self._timeout = options.timeout if options.timeout > 0 else None
        self._cors = _CORS if options.enable_cors else ()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        reply = await self._reply(scope, receive)
        if reply is None:
            return
        headers = [*reply.headers, (b"content-length", b"%d" % len(reply.body))]
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})

    async def _reply(self, scope: Scope, receive: Receive) -> Reply | None:
        """The reply; None if the client has gone."""
        if self._options.refuse_pages and from_page(scope["headers"]):
            return Reply(403, (_JSON, (b"connection", b"close")), _PAGE_REFUSED)
        body = await read_body(scope, receive)
        if not isinstance(body, bytes):
            return body
        method, path = scope["method"], scope["raw_path"].decode("latin-1")
        uri = f"{path}?{scope['query_string'].decode('latin-1')}" if scope["query_string"] else path
        if method not in _METHODS:
            return _page(501)
        if not paths.is_valid_uri(uri):
            return _page(400)
        if path == self._options.monitoring_path:
            return await self._metrics(path, uri)
        if not paths.is_ours(uri):
            return _page(404)
        if method == "OPTIONS" and self._options.enable_cors:
            return self._preflight(scope)
        started = time.perf_counter()
        reply = await self._answer(method, uri, body, scope, started)
        if self._options.log_requests:
            log.info("%s %s %d, %.1f ms", method, uri, reply.status, (time.perf_counter() - started) * 1000)
        return reply

    async def _metrics(self, path: str, uri: str) -> Reply:
        if uri != path:
            return Reply(400, (_TEXT,), f"Unexpected path: {uri}. Should be {path}".encode())
        page = await self._options.dispatcher.call(self._options.metrics.page)
        return Reply(200, (_TEXT,), valid_text(page).encode())

    def _preflight(self, scope: Scope) -> Reply:
        """The reply to a browser that asks whether it may send a request: yes, if it names its origin."""
        if re.search(rb"https?://", _header(scope, b"origin")):
            return Reply(200, self._cors)
        return Reply(failed_precondition("").code.http_status, self._cors)

    async def _answer(self, method: str, uri: str, body: bytes, scope: Scope, started: float) -> Reply:
        asked, code = None, Code.OK
        headers = (_JSON, *self._cors)
        try:
            asked = paths.route(method, uri)
            zipped = b"gzip" in _header(scope, b"content-encoding")
            size = MAX_UNZIPPED_BYTES if zipped else len(body)
            content = await self._options.dispatcher.call_quick(
                (asked.verb, asked.name), size, self._work, asked, body, zipped, started,
                model=asked.name, timeout=self._left(started),
            )  # fmt: skip
            return Reply(200, headers, content)
        except paths.BadVersion as problem:
            return Reply(problem.code.http_status, headers)
        except Exception as problem:  # noqa: BLE001 - whatever it is, the client is answered
            error = as_status(problem)
            code = error.code
            return Reply(code.http_status, headers, encode.error(error))
        finally:
            if asked is not None and method == "POST":
                seconds = time.perf_counter() - started
                self._options.metrics.record_request(asked.name, asked.verb.title(), "REST", code.name, seconds)

    # What follows runs in a worker thread if it may take long (see Dispatcher).

    def _left(self, started: float) -> float | None:
        """What is left of a request's time, in seconds; None for no limit."""
        return None if self._timeout is None else max(0.001, started + self._timeout - time.perf_counter())

    def _work(self, asked: Route, body: bytes, zipped: bool, started: float) -> bytes:
        if zipped and body:
            body = unzip(body)
        if asked.verb == paths.PREDICT:
            return self._predict(asked, body, started)
        if asked.verb in (paths.CLASSIFY, paths.REGRESS):
            return self._infer(asked, body, started)
        if not asked.name:
            raise invalid_argument("Missing model name in request.")
        if asked.verb == paths.STATUS:
            return encode.status(self._manager.statuses(asked.name, asked.version))
        with self._manager.acquire(asked.name, asked.version, asked.label) as servable:
            return encode.metadata(servable)

    def _predict(self, asked: Route, body: bytes, started: float) -> bytes:
        document = Document(body)
        name = document.signature_name() or DEFAULT_SIGNATURE
        # A body that is not JSON is refused as such, whether or not the model exists.
        with self._manager.acquire(asked.name, asked.version, asked.label) as servable:
            signature = servable.signatures.get(name)
            if signature is None:
                raise invalid_argument(f'Serving signature name: "{name}" not found in signature def')
            inputs = number_inputs(document, signature) or predict_inputs(document, signature)
            feeds = {alias: partial(_feed, array, signature.inputs[alias]) for alias, array in inputs.arrays.items()}
            with predict(servable, signature, feeds, timeout=self._left(started)) as outputs:
                arrays = {alias: c_api.array_from_tensor(tensor) for alias, tensor in outputs.items()}
            return encode.predictions(signature, arrays, row_format=inputs.row_format)

    def _infer(self, asked: Route, body: bytes, started: float) -> bytes:
        classify = asked.verb == paths.CLASSIFY
        request = ClassificationRequest() if classify else RegressionRequest()
        fill_request(body, request)
        with self._manager.acquire(asked.name, asked.version, asked.label) as servable:
            if classify:
                return encode.classifications(examples.classify(servable, request, self._left(started)).result)
            return encode.regressions(examples.regress(servable, request, self._left(started)).result)


async def read_body(scope: Scope, receive: Receive, idle_seconds: float = IDLE_SECONDS) -> bytes | Reply | None:
    """The whole body; an error reply if it is too large or stops coming; None if the client has gone."""
    declared = _header(scope, b"content-length")
    if declared.isdigit() and int(declared[:12]) > MAX_BODY_BYTES:
        return _page(413)
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(idle_seconds) as idle:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return None
                chunks.append(message.get("body", b""))
                if not message.get("more_body"):
                    return chunks[0] if len(chunks) == 1 else b"".join(chunks)
                size += len(chunks[-1])
                if size > MAX_BODY_BYTES:
                    return _page(413)
                idle.reschedule(asyncio.get_running_loop().time() + idle_seconds)
    except TimeoutError:
        return _page(408)


def unzip(body: bytes) -> bytes:
    """A gzip body unpacked; empty, as for TensorFlow Serving, if it is damaged or too large."""
    unpacker = zlib.decompressobj(wbits=31)
    try:
        content = unpacker.decompress(body, MAX_UNZIPPED_BYTES + 1)
    except zlib.error:
        return b""
    if len(content) > MAX_UNZIPPED_BYTES or not unpacker.eof or unpacker.unused_data:
        return b""
    return content


def _header(scope: Scope, name: bytes) -> bytes:
    value: bytes
    for key, value in scope["headers"]:
        if key == name:
            return value
    return b""


def _page(status: int) -> Reply:
    """The page that libevent sends for a request that no handler takes."""
    phrase = _PHRASES[status]
    page = f"<HTML><HEAD>\n<TITLE>{status} {phrase}</TITLE>\n</HEAD><BODY>\n<H1>{phrase}</H1>\n</BODY></HTML>\n"
    return Reply(status, _HTML, page.encode())


def _feed(array: Array, info: TensorInfo) -> int:
    """A tensor of an input's values: what no array carries came as strings, or is empty."""
    kind = DataType(info.data_type)
    return c_api.tensor_from_array(array, info.data_type if kind.is_number else DataType.STRING)

"""The REST application: from a request to a reply."""

import logging
import re
import time
import zlib
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Final

from infra.modelserver.errors import Code, as_status, failed_precondition, invalid_argument
from infra.modelserver.heavy import MOST_ZIPPED, Turns, is_heavy
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
from infra.modelserver.rest.protocol import Reply, Request, page
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


MAX_UNZIPPED_BYTES: Final = 100 * 2**20  # gzip_zlib.h, kMaxUncompressedBytes

_METHODS: Final = frozenset(("GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"))
_JSON: Final = (b"content-type", b"application/json")
_TEXT: Final = (b"content-type", b"text/plain")
_CORS: Final = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"POST, GET"),
    (b"access-control-allow-headers", b"Content-Type"),
)
_PAGE_REFUSED: Final = (
    b'{"error": "Web pages may not ask this server: --rest_api_enable_cors_support would let every page. '
    b'Programs name it localhost, or by its address."}'
)


@dataclass(frozen=True, slots=True)
class _Body:
    """A request's body as it was sent; heavy if it may need much memory to be read."""

    sent: bytes
    zipped: bool
    heavy: bool

    def content(self) -> bytes:
        """The body, unpacked."""
        return unzip(self.sent) if self.zipped and self.sent else self.sent


class RestApp:
    """What answers for a manager's models."""

    def __init__(self, manager: Manager, options: RestOptions) -> None:
        keep_freed_memory()
        self._manager, self._options = manager, options
        self._timeout = options.timeout if options.timeout > 0 else None
        self._cors = _CORS if options.enable_cors else ()
        self._turns = Turns()

    def refusal(self, request: Request) -> Reply | None:
        """The reply to a request that is refused before its body is read; None for others."""
        # OPTIONS tells a page nothing: without CORS headers in the reply its browser sends no request.
        if self._options.refuse_pages and request.method != "OPTIONS" and from_page(request.headers):
            return Reply(403, (_JSON, (b"connection", b"close")), _PAGE_REFUSED)
        return None

    async def answer(self, request: Request) -> Reply:
        """The reply to a request."""
        method, uri = request.method, request.uri
        if method not in _METHODS:
            return page(501)
        if not paths.is_valid_uri(uri):
            return page(400)
        path = uri.partition("?")[0]
        if path == self._options.monitoring_path:
            return await self._metrics(path, uri)
        if not paths.is_ours(uri):
            return page(404)
        if method == "OPTIONS":
            return self._preflight(request)
        started = time.perf_counter()
        reply = await self._answer(request, started)
        if self._options.log_requests:
            log.info("%s %s %d, %.1f ms", method, uri, reply.status, (time.perf_counter() - started) * 1000)
        return reply

    async def _metrics(self, path: str, uri: str) -> Reply:
        if uri != path:
            return Reply(400, (_TEXT,), f"Unexpected path: {uri}. Should be {path}".encode())
        text = await self._options.dispatcher.call(self._options.metrics.page)
        return Reply(200, (_TEXT,), valid_text(text).encode())

    def _preflight(self, request: Request) -> Reply:
        """The reply to a browser that asks whether it may send a request: yes, if it names its origin."""
        if re.search(rb"https?://", request.header(b"origin")):
            return Reply(200, self._cors)
        return Reply(failed_precondition("").code.http_status, self._cors)

    async def _answer(self, request: Request, started: float) -> Reply:
        asked, code = None, Code.OK
        headers = (_JSON, *self._cors)
        try:
            asked = paths.route(request.method, request.uri)
            body, zipped = request.body(), b"gzip" in request.header(b"content-encoding")
            most = min(len(body) * MOST_ZIPPED, MAX_UNZIPPED_BYTES) if zipped else len(body)
            heavy = is_heavy(body, most)
            content = await self._options.dispatcher.call_quick(
                (asked.verb, asked.name), most, self._work, asked, _Body(body, zipped, heavy), started,
                model=asked.name, timeout=self._left(started), heavy=heavy,
            )  # fmt: skip
            return Reply(200, headers, content)
        except paths.BadVersion as problem:
            code = problem.code
            return Reply(problem.code.http_status, headers)
        except Exception as problem:  # noqa: BLE001 - whatever it is, the client is answered
            error = as_status(problem)
            code = error.code
            return Reply(code.http_status, headers, encode.error(error))
        finally:
            seconds = time.perf_counter() - started
            # Clients make up names: what is not served counts under none, lest the page grow without end.
            name = asked.name if asked is not None and self._manager.serves(asked.name) else ""
            api = asked.verb if asked is not None and request.method == "POST" else ""
            self._options.metrics.record_request(name, api, "REST", code.name, seconds)

    # What follows runs in a worker thread if it may take long (see Dispatcher).

    def _left(self, started: float) -> float | None:
        """What is left of a request's time, in seconds; None for no limit."""
        return None if self._timeout is None else max(0.001, started + self._timeout - time.perf_counter())

    def _reading(self, body: _Body, started: float) -> AbstractContextManager[None]:
        """While a body is read: heavy ones are read in turn."""
        return self._turns.turn(self._left(started)) if body.heavy else nullcontext()

    def _work(self, asked: Route, body: _Body, started: float) -> bytes:
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

    def _predict(self, asked: Route, body: _Body, started: float) -> bytes:
        with ExitStack() as stack:
            with self._reading(body, started):
                document = Document(body.content(), self._left(started))
                name = document.signature_name() or DEFAULT_SIGNATURE
                # A body that is not JSON is refused as such, whether or not the model exists.
                servable = stack.enter_context(self._manager.acquire(asked.name, asked.version, asked.label))
                signature = servable.signatures.get(name)
                if signature is None:
                    raise invalid_argument(f'Serving signature name: "{name}" not found in signature def')
                inputs = number_inputs(document, signature) or predict_inputs(document, signature)
                del document
            feeds = {alias: partial(_feed, array, signature.inputs[alias]) for alias, array in inputs.arrays.items()}
            with predict(servable, signature, feeds, timeout=self._left(started)) as outputs:
                arrays = {alias: c_api.array_from_tensor(tensor) for alias, tensor in outputs.items()}
            return encode.predictions(signature, arrays, row_format=inputs.row_format)

    def _infer(self, asked: Route, body: _Body, started: float) -> bytes:
        classify = asked.verb == paths.CLASSIFY
        request = ClassificationRequest() if classify else RegressionRequest()
        with self._reading(body, started):
            fill_request(body.content(), request, self._left(started))
        with self._manager.acquire(asked.name, asked.version, asked.label) as servable:
            if classify:
                return encode.classifications(examples.classify(servable, request, self._left(started)).result)
            return encode.regressions(examples.regress(servable, request, self._left(started)).result)


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


def _feed(array: Array, info: TensorInfo) -> int:
    """A tensor of an input's values: what no array carries came as strings, or is empty."""
    kind = DataType(info.data_type)
    return c_api.tensor_from_array(array, info.data_type if kind.is_number else DataType.STRING)

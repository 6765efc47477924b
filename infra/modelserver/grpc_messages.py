"""Unpacking compressed gRPC messages: 89 KB of them may grow to 90 MB, and gRPC itself sets no bound.

So the server is started without gRPC's own decompression, and messages come here as they were sent.
"""

import threading
import zlib
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, Final, TypeAlias

import grpc
from google.protobuf.message import DecodeError

from infra.modelserver.errors import Code, StatusError
from infra.modelserver.heavy import HEAVY_BYTES, MOST_ZIPPED, Turns

MAX_UNZIPPED_BYTES: Final = 100 * 2**20  # of a message, as of a body over REST
MAX_UNZIPPED_TOTAL: Final = 256 * 2**20  # of the calls under way, together
OPTION: Final = ("grpc.per_message_decompression", 0)

_GZIP: Final = b"\x1f\x8b"  # no message begins so: there is no wire type 7
_DEFLATE: Final = b"\x78"  # a message would begin so with a field 15, which none of ours has

_Handler: TypeAlias = Any  # grpc.RpcMethodHandler, whose stubs know no requests that are bytes


class Unzipper(grpc.ServerInterceptor):
    """Unpacks and parses the messages of unary calls. Thread-safe."""

    def __init__(self) -> None:
        self._turns = Turns()
        self._lock, self._total = threading.Lock(), 0
        self._handlers: dict[str, _Handler] = {}

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], _Handler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Handler | None:
        """The handler of a call, which takes messages that are packed."""
        method = handler_call_details.method
        if method not in self._handlers:
            handler = continuation(handler_call_details)
            if handler is None or handler.unary_unary is None:
                return handler
            self._handlers[method] = grpc.unary_unary_rpc_method_handler(
                self._unpacking(handler), response_serializer=handler.response_serializer
            )
        return self._handlers[method]

    def _unpacking(self, handler: _Handler) -> Callable[[bytes, grpc.ServicerContext], Any]:
        parse, work = handler.request_deserializer, handler.unary_unary

        def answer(sent: bytes, context: grpc.ServicerContext) -> Any:
            packed, unzipped = sent[:2] == _GZIP or sent[:1] == _DEFLATE, 0
            heavy = len(sent) * (MOST_ZIPPED if packed else 1) > HEAVY_BYTES
            try:
                try:
                    with self._turns.turn(context.time_remaining()) if heavy else nullcontext():
                        message = unzip(sent) if packed else sent
                        unzipped = len(message) if packed else 0
                        self._count(unzipped)
                        request = _parsed(parse, message)
                        del message
                except StatusError as error:
                    context.abort(error.code.grpc_status, error.message)
                return work(request, context)
            finally:
                self._count(-unzipped)

        return answer

    def _count(self, size: int) -> None:
        if not size:
            return
        with self._lock:
            self._total += size
            if size > 0 and self._total > MAX_UNZIPPED_TOTAL:
                raise StatusError(
                    Code.RESOURCE_EXHAUSTED,
                    f"compressed messages of more than {MAX_UNZIPPED_TOTAL} bytes are under way",
                )


def unzip(sent: bytes) -> bytes:
    """A message unpacked; itself if it is not packed.

    Raises:
        StatusError: RESOURCE_EXHAUSTED; it is too large. INTERNAL; it is damaged.
    """
    unpacker = zlib.decompressobj(wbits=47)  # gzip or zlib
    try:
        message = unpacker.decompress(sent, MAX_UNZIPPED_BYTES + 1)
    except zlib.error as error:
        if sent[:2] != _GZIP:
            return sent
        raise _malformed() from error
    if len(message) > MAX_UNZIPPED_BYTES:
        raise StatusError(
            Code.RESOURCE_EXHAUSTED, f"a compressed message grows to more than {MAX_UNZIPPED_BYTES} bytes"
        )
    if not unpacker.eof:
        raise _malformed()
    return message


def _parsed(parse: Callable[[bytes], Any], message: bytes) -> Any:
    try:
        return parse(message)
    except DecodeError as error:
        raise _malformed() from error


def _malformed() -> StatusError:
    return StatusError(Code.INTERNAL, "Exception deserializing request!")  # gRPC's own words

"""How far compressed gRPC messages may grow."""

import gzip
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from infra.modelserver import grpc_messages
from infra.modelserver.errors import Code, StatusError
from infra.modelserver.grpc_messages import OPTION, Unzipper, unzip
from tasks.wire.protos import PredictionServiceServicer, PredictRequest, PredictResponse
from tasks.wire.protos import add_PredictionServiceServicer_to_server as add_service

METHOD = "/tensorflow.serving.PredictionService/Predict"


class Echo(PredictionServiceServicer):
    """Answers with the model that is named in the request."""

    def Predict(self, request: PredictRequest, context: grpc.ServicerContext) -> PredictResponse:
        reply = PredictResponse()
        reply.model_spec.CopyFrom(request.model_spec)
        return reply


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    server = grpc.server(ThreadPoolExecutor(4), interceptors=[Unzipper()], options=[OPTION])
    add_service(Echo(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(None)


def ask(port: int, message: bytes, compression: Any = grpc.Compression.NoCompression) -> Any:
    any_size = [("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(f"127.0.0.1:{port}", any_size, compression) as channel:
        return channel.unary_unary(METHOD)(message, timeout=20)  # type: ignore[arg-type]


def message(size: int) -> bytes:
    request = PredictRequest()
    request.model_spec.name = "a" * size
    return bytes(request.SerializeToString())


def test_a_compressed_message_may_grow_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc_messages, "MAX_UNZIPPED_BYTES", 1000)
    for pack in (gzip.compress, zlib.compress):
        assert unzip(pack(b"a" * 1000)) == b"a" * 1000
        with pytest.raises(StatusError) as refused:
            unzip(pack(b"a" * 1001))
        assert refused.value.code is Code.RESOURCE_EXHAUSTED
        with pytest.raises(StatusError) as refused:
            unzip(pack(b"abcdefgh" * 100)[:-5])
        assert refused.value.code is Code.INTERNAL
    assert unzip(b"x not packed") == b"x not packed"


@pytest.mark.parametrize("size", [1, 5000, 3 << 20])
@pytest.mark.parametrize("how", [grpc.Compression.NoCompression, grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_clients_may_compress(port: int, size: int, how: Any) -> None:
    assert PredictResponse.FromString(ask(port, message(size), how)).model_spec.name == "a" * size


@pytest.mark.parametrize("how", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_what_is_no_message_is_refused(port: int, how: Any) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        ask(port, b"\x1f\x8b no message" + bytes(1000), how)
    assert refused.value.code() is grpc.StatusCode.INTERNAL


def test_what_compressed_messages_grow_to_has_a_bound_together(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc_messages, "MAX_UNZIPPED_TOTAL", 100_000)
    for _ in range(5):  # what is answered does not count
        assert ask(port, message(60_000), grpc.Compression.Gzip)
        with pytest.raises(grpc.RpcError) as refused:
            ask(port, message(150_000), grpc.Compression.Gzip)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED

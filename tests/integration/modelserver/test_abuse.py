"""What a client waits for its small predictions beside one that abuses the server."""

import contextlib
import gzip
import http.client
import multiprocessing
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest

from tasks.wire.protos import PredictRequest
from tests.integration.modelserver.rest_server import RestServer

SECONDS = 10.0  # of each attack
MOST = 0.2  # seconds that 99 of 100 requests may take
# And beside bodies of 90 MB: simdjson keeps the interpreter while it reads one, 5 ms for each megabyte.
MOST_BESIDE_HUGE = 1.0
MOST_BYTES = 5 << 30  # that the server may hold
POST = "POST /v1/models/kinds:predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n{}\r\n"
LISTS = b'{"instances": [' + b"[]," * 1_500_000 + b"[]]}"
MORE_LISTS = b'{"instances": [' + b"[]," * 5_000_000 + b"[]]}"
DEEP = b'{"instances": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
ZIPPED_LISTS = gzip.compress(b'{"instances": [' + b"[]," * 30_000_000 + b"[]]}", 1)
ZIPPED_NUMBERS = gzip.compress(b'{"instances": [' + b"1," * 45_000_000 + b"1]}", 1)


class Ports(NamedTuple):
    """Where the server is attacked."""

    rest: int
    grpc: int


Attack = Callable[[Ports], None]

pytestmark = [pytest.mark.soak, pytest.mark.alone]


@pytest.fixture
def server(rest_models: Path, tmp_path: Path) -> Iterator[RestServer]:
    """A server with the time-outs and limits that it has by default."""
    one = RestServer(rest_models, tmp_path)
    yield one
    one.kill()


def send(server: Ports, *pieces: bytes) -> None:
    """Send what the server may refuse in the middle, and wait for the end."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", server.rest), 60) as connection:
        for piece in pieces:
            connection.sendall(piece)
        while connection.recv(1 << 20):
            pass


def eight(server: Ports, *pieces: bytes) -> None:
    """The same from eight clients at once."""
    threads = [threading.Thread(target=send, args=(server, *pieces)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def long_header(server: Ports) -> None:
    """One header of 60 MB."""
    send(server, b"GET /v1/models/kinds HTTP/1.1\r\nX-Long: ", b"x" * 60_000_000, b"\r\n\r\n")


def many_headers(server: Ports) -> None:
    """Short headers without end."""
    send(server, b"GET /v1/models/kinds HTTP/1.1\r\n", b"X: y\r\n" * 10_000_000)


def wide(server: Ports) -> None:
    """Eight bodies of 4.5 MB of empty lists."""
    eight(server, POST.format(len(LISTS), "").encode(), LISTS)


def wider(server: Ports) -> None:
    """One body of 15 MB of them."""
    send(server, POST.format(len(MORE_LISTS), "").encode(), MORE_LISTS)


def deep(server: Ports) -> None:
    """Eight bodies nested 100,000 deep."""
    eight(server, POST.format(len(DEEP), "").encode(), DEEP)


def zipped_lists(server: Ports) -> None:
    """Eight gzip bodies that grow to 90 MB of empty lists."""
    eight(server, POST.format(len(ZIPPED_LISTS), "Content-Encoding: gzip\r\n").encode(), ZIPPED_LISTS)


def zipped_numbers(server: Ports) -> None:
    """Eight gzip bodies that grow to 90 MB of numbers."""
    eight(server, POST.format(len(ZIPPED_NUMBERS), "Content-Encoding: gzip\r\n").encode(), ZIPPED_NUMBERS)


def silent(server: Ports) -> None:
    """1,000 connections that say nothing, and 1,000 that stop in the middle of a body."""
    with contextlib.ExitStack() as stack:
        for number in range(2000):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", server.rest), 60))
            if number % 2:
                connection.sendall(POST.format(100, "").encode() + b"x")
        time.sleep(SECONDS / 2)


def zipped_messages(server: Ports) -> None:
    """Eight gzip messages of 89 KB over gRPC, which would grow to 90 MB."""
    request = PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "kinds", "echo_float32"
    tensor = request.inputs["x"]
    tensor.dtype, tensor.tensor_content = 1, bytes(90_000_000)
    tensor.tensor_shape.dim.add().size = 90_000_000 // 4
    message = request.SerializeToString()
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc}", compression=grpc.Compression.Gzip) as channel:
        predict: Any = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            calls = [predict.future(message, timeout=30) for _ in range(8)]
            for call in calls:
                call.exception()


ATTACKS: dict[str, Attack] = {
    one.__name__: one
    for one in (long_header, many_headers, wide, wider, deep, zipped_lists, zipped_numbers, silent, zipped_messages)
}


def go_on(name: str, ports: Ports) -> None:
    """Attack again and again, in a process of its own."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        ATTACKS[name](ports)


@pytest.mark.parametrize("attack", ATTACKS)
def test_who_asks_beside_an_abuser_is_answered_in_time(server: RestServer, attack: str) -> None:
    def ask() -> float:
        began = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        body = b'{"signature_name": "echo_float32", "inputs": [1.5]}'
        connection.request("POST", "/v1/models/kinds:predict", body)
        reply = connection.getresponse()
        assert (reply.status, reply.read().split()) == (200, [b"{", b'"outputs":', b"[", b"1.5", b"]", b"}"])
        connection.close()
        return time.monotonic() - began

    for _ in range(100):
        ask()
    attacker = multiprocessing.get_context("spawn").Process(
        target=go_on, args=(attack, Ports(server.port, server.grpc_port)), daemon=True
    )
    attacker.start()
    waits = []
    while attacker.is_alive():
        waits.append(ask())
        if server.resident_bytes() > MOST_BYTES:
            server.kill()  # before the machine has no memory left for others
            attacker.kill()
            pytest.fail(f"the server holds more than {MOST_BYTES} bytes")
        time.sleep(0.02)
    assert attacker.exitcode == 0
    waits.sort()
    p99 = waits[int(len(waits) * 0.99) - 1]
    print(f"{attack}: p99 {1e3 * p99:.0f} ms, longest {1e3 * waits[-1]:.0f} ms of {len(waits)}")  # noqa: T201 - a figure
    most = MOST_BESIDE_HUGE if attack in (zipped_lists.__name__, zipped_numbers.__name__) else MOST
    assert p99 < most, f"the longest of {len(waits)}: {waits[-10:]}"

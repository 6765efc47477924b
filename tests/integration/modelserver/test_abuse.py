"""A polite client beside one that sends what costs the server much and the sender little."""

import http.client
import socket
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.modelserver.process import ModelServerProcess, entry, specific

pytestmark = [pytest.mark.soak, pytest.mark.timeout(300)]

SECONDS = 10.0
LISTS = b'{"instances": [' + b"[]," * 1_200_000 + b"[]]}"
TEXTS = b'{"instances": [' + b'"",' * 2_000_000 + b'""]}'
DEEP = b'{"instances": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
ZIPPED = zlib.compress(b"[" * 90_000_000, wbits=31)


def sends(*pieces: bytes) -> Callable[[int], None]:
    def send(port: int) -> None:
        with socket.create_connection(("127.0.0.1", port), 60) as connection:
            for piece in pieces:
                connection.sendall(piece)
            while connection.recv(1 << 16):
                """Wait for the end."""

    return send


def posts(body: bytes, headers: bytes = b"") -> Callable[[int], None]:
    head = b"POST /v1/models/affine:predict HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    return sends(head + headers + b"Content-Length: %d\r\n\r\n" % len(body), body)


ATTACKS: dict[str, tuple[int, Callable[[int], None]]] = {
    "a header of 60 MB": (1, sends(b"GET /v1/models/affine HTTP/1.1\r\nX: ", *[b"x" * (1 << 20)] * 60, b"\r\n\r\n")),
    "eight bodies of empty lists": (8, posts(LISTS)),
    "eight bodies of empty texts": (8, posts(TEXTS)),
    "bodies nested 100,000 deep": (2, posts(DEEP)),
    "gzip bodies that grow a thousandfold": (4, posts(ZIPPED, b"Content-Encoding: gzip\r\n")),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_polite_client_hardly_waits_for_one_that_is_not(tmp_path: Path, small_models: Path, attack: str) -> None:
    with ModelServerProcess(tmp_path, [entry(small_models / "affine", specific(1))]) as server:
        count, send = ATTACKS[attack]
        end = time.monotonic() + SECONDS

        def go_on() -> None:
            while time.monotonic() < end:
                try:
                    send(server.rest_port)
                except OSError:
                    """It was cut off."""

        attackers = [threading.Thread(target=go_on, daemon=True) for _ in range(count)]
        for attacker in attackers:
            attacker.start()
        waits = []
        while time.monotonic() < end:
            began = time.monotonic()
            connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=60)
            connection.request("POST", "/v1/models/affine:predict", b'{"instances": [4.0]}')
            assert connection.getresponse().status == 200
            connection.close()
            waits.append(time.monotonic() - began)
            time.sleep(0.02)
        for attacker in attackers:
            attacker.join(60)
    waits.sort()
    assert waits[int(0.99 * len(waits)) - 1] < 0.2, f"p99 of {len(waits)}: {waits[int(0.99 * len(waits)) - 1]:.2f} s"

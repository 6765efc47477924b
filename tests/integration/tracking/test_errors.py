"""What is said where the server is away, slow, broken or no MLflow at all."""

import http.server
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tasks.errors import TrackingError, TrackingUnreachable
from tasks.records import Training
from tasks.tracking.runs import Tracker
from tasks.tracking.server import TrackingServer


@contextmanager
def answering(status: int, body: bytes, kind: str = "application/json") -> Iterator[tuple[str, list[str]]]:
    """A server that answers everything alike; its URL and what it was asked."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            asked.append(self.path)
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = answer

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,)).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()


def tracker(uri: str, deadline: float = 2.0) -> Tracker:
    return Tracker(TrackingServer(uri, deadline, patience=0.5))


STEPS: list[Callable[[Tracker], object]] = [
    lambda t: t.start("MLP", Training(), "bold-lynx", "train-1"),
    lambda t: t.epoch("ab" * 16, 1, {"loss": 0.5}),
    lambda t: t.finish("ab" * 16, {"accuracy": 0.5}, None),
    lambda t: t.fail("ab" * 16, "it failed"),
]


@pytest.mark.parametrize("step", STEPS, ids=["start", "epoch", "finish", "fail"])
def test_a_server_that_is_not_there_is_named_with_what_to_do(step: Callable[[Tracker], object]) -> None:
    with socket.socket() as bound:  # bound and not listening: nobody else takes the port
        bound.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{bound.getsockname()[1]}"
        with pytest.raises(TrackingUnreachable) as raised:
            step(tracker(uri))
    message = str(raised.value)
    assert uri in message
    assert "Connection refused" in message
    assert "make up" in message
    assert "SLIPWAY_MLFLOW_URL" in message
    assert len(message) < 400


def test_a_server_that_takes_calls_and_never_answers_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        with pytest.raises(TrackingUnreachable, match="Read timed out"):
            tracker(f"http://127.0.0.1:{silent.getsockname()[1]}", 1.0).start("MLP", Training(), "bold-lynx", "train-1")
        assert time.monotonic() - began < 30


def test_a_server_that_is_overloaded_may_be_asked_again() -> None:
    with (
        answering(503, b"busy", "text/plain") as (uri, asked),
        pytest.raises(TrackingUnreachable, match="503 error responses"),
    ):
        tracker(uri).start("MLP", Training(), "bold-lynx", "train-1")
    assert len(asked) == 3


@pytest.mark.parametrize(("status", "body"), [(404, b"<html>not here</html>"), (401, b"who are you?")])
def test_a_server_that_is_no_mlflow_is_not_asked_again(status: int, body: bytes) -> None:
    with answering(status, body, "text/html") as (uri, asked), pytest.raises(TrackingError) as raised:
        tracker(uri).start("MLP", Training(), "bold-lynx", "train-1")
    assert not isinstance(raised.value, TrackingUnreachable)
    assert "refused to open the run of a training: API request to endpoint" in str(raised.value)
    assert "correct SLIPWAY_MLFLOW_URL" in str(raised.value)
    assert len(asked) == 1


def test_mlflows_own_refusal_is_told_in_its_words() -> None:
    body = b'{"error_code": "PERMISSION_DENIED", "message": "you may only read"}'
    with answering(403, body) as (uri, _), pytest.raises(TrackingError, match="you may only read"):
        tracker(uri).start("MLP", Training(), "bold-lynx", "train-1")

"""What a client of a model server sends, and what it makes of every kind of answer."""

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
import numpy as np
import pytest

from tasks.errors import (
    DeadlineExceeded,
    InvalidInput,
    ServingError,
    ServingRefused,
    ServingUnreachable,
)
from tasks.records import SignatureSpec, TensorSpec, VersionState
from tasks.serving.client import ServingClient, Target
from tasks.wire.protos import (
    GetModelStatusRequest,
    GetModelStatusResponse,
    ModelServerConfig,
    ModelVersionStatus,
    PredictRequest,
    PredictResponse,
    ReloadConfigRequest,
    ReloadConfigResponse,
)
from tasks.wire.tensors import to_proto

# gRPC's path of each call that the client makes, and its messages.
CALLS = {
    "/tensorflow.serving.PredictionService/Predict": (PredictRequest, PredictResponse),
    "/tensorflow.serving.ModelService/GetModelStatus": (GetModelStatusRequest, GetModelStatusResponse),
    "/tensorflow.serving.ModelService/HandleReloadConfigRequest": (ReloadConfigRequest, ReloadConfigResponse),
}
NOWHERE = "127.0.0.1:1"
AFFINE = SignatureSpec(
    {"x": TensorSpec("float32", (None,))},
    {"y": TensorSpec("float32", (None,))},
)

Call = Callable[[Any, grpc.ServicerContext], Any]


@dataclass
class FakeServer:
    """Answers as the test says, and keeps what it was asked."""

    asked: list[Any] = field(default_factory=list)
    call: Call = lambda request, context: context.abort(grpc.StatusCode.UNIMPLEMENTED, "nothing is said")
    status: int = 200
    body: bytes = b"{}"
    wait: threading.Event | None = None  # until it is set no REST answer comes
    grpc_address: str = ""
    rest_url: str = ""

    def client(self, deadline: float = 20.0) -> ServingClient:
        return ServingClient(self.grpc_address, self.rest_url + "/", deadline)


class _Calls(grpc.GenericRpcHandler):
    def __init__(self, fake: FakeServer) -> None:
        self._fake = fake

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        request, reply = CALLS[details.method]

        def answer(asked: Any, context: grpc.ServicerContext) -> Any:
            self._fake.asked.append(asked)
            return self._fake.call(asked, context)

        return grpc.unary_unary_rpc_method_handler(answer, request.FromString, reply.SerializeToString)


class _Rest(BaseHTTPRequestHandler):
    fake: FakeServer

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.fake.asked.append((self.command, self.path, json.loads(body) if body else None))
        if self.fake.wait is not None:
            self.fake.wait.wait(60)
        self.send_response(self.fake.status)
        self.send_header("Content-Length", str(len(self.fake.body)))
        self.end_headers()
        self.wfile.write(self.fake.body)

    do_GET = do_POST


@pytest.fixture
def server() -> Iterator[FakeServer]:
    fake = FakeServer()
    calls = grpc.server(ThreadPoolExecutor(4))
    calls.add_generic_rpc_handlers([_Calls(fake)])
    fake.grpc_address = f"127.0.0.1:{calls.add_insecure_port('127.0.0.1:0')}"
    calls.start()
    rest = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_Rest,), {"fake": fake}))
    fake.rest_url = f"http://127.0.0.1:{rest.server_address[1]}"
    thread = threading.Thread(target=rest.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield fake
    rest.shutdown()
    rest.server_close()
    thread.join()
    calls.stop(None).wait()


def refusing(code: grpc.StatusCode, details: str, times: int = 1000) -> Call:
    """Refuses so many calls, and answers the next with nothing in it."""
    left = [times]

    def call(request: Any, context: grpc.ServicerContext) -> Any:
        left[0] -= 1
        if left[0] >= 0:
            context.abort(code, details)
        return GetModelStatusResponse()

    return call


@pytest.mark.parametrize(
    ("target", "path", "version", "label"),
    [
        (Target("M"), "/v1/models/M", 0, ""),
        (Target("M", version=7), "/v1/models/M/versions/7", 7, ""),
        (Target("M", version=0), "/v1/models/M/versions/0", 0, ""),
        (Target("M", label="stable"), "/v1/models/M/labels/stable", 0, "stable"),
    ],
)
def test_a_target_is_the_same_in_a_path_and_in_a_request(target: Target, path: str, version: int, label: str) -> None:
    spec = target.spec("call")
    assert (target.path, spec.name, spec.signature_name) == (path, "M", "call")
    assert (spec.version.value, spec.version_label) == (version, label)
    assert spec.HasField("version") == (target.version is not None)


def test_the_states_of_all_versions_come_with_their_errors(server: FakeServer) -> None:
    told = GetModelStatusResponse()
    told.model_version_status.add(version=8, state=ModelVersionStatus.END).status.error_code = 5
    told.model_version_status[0].status.error_message = "no variables"
    told.model_version_status.add(version=7, state=ModelVersionStatus.AVAILABLE)
    server.call = lambda request, context: told
    with server.client() as client:
        assert client.statuses("M") == (
            VersionState(version=8, state="END", code="NOT_FOUND", message="no variables"),
            VersionState(version=7, state="AVAILABLE", code="OK", message=""),
        )
    assert [request.model_spec.name for request in server.asked] == ["M"]


def test_a_model_that_the_server_does_not_know_has_no_versions(server: FakeServer) -> None:
    server.call = refusing(grpc.StatusCode.NOT_FOUND, "Could not find any versions of model M")
    with server.client() as client:
        assert client.statuses("M") == ()


def test_a_call_that_was_turned_away_by_a_busy_server_is_made_again(server: FakeServer) -> None:
    server.call = refusing(grpc.StatusCode.RESOURCE_EXHAUSTED, "no thread is free", times=2)
    with server.client() as client:
        assert client.statuses("M") == ()
    assert len(server.asked) == 3


def test_a_server_that_stays_busy_is_told_by_the_deadline(server: FakeServer) -> None:
    server.call = refusing(grpc.StatusCode.RESOURCE_EXHAUSTED, "no thread is free")
    with server.client(0.5) as client, pytest.raises(ServingError, match="is too busy: no thread is free"):
        client.statuses("M")


@pytest.mark.parametrize("code", [grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION])
def test_a_refusal_carries_the_servers_own_code_and_words_and_is_not_repeated(
    server: FakeServer, code: grpc.StatusCode
) -> None:
    server.call = refusing(code, "its own words")
    with server.client() as client, pytest.raises(ServingRefused, match=f"answered {code.name}: its own words") as told:
        client.reload(ModelServerConfig(), 20.0)
    assert (told.value.code, len(server.asked)) == (code.name, 1)


def test_a_call_that_takes_too_long_is_given_up(server: FakeServer) -> None:
    ended = threading.Event()

    def sleep(request: Any, context: grpc.ServicerContext) -> Any:
        context.add_callback(ended.set)
        ended.wait(60)
        return GetModelStatusResponse()

    server.call = sleep
    with server.client(0.3) as client, pytest.raises(DeadlineExceeded, match=r"did not answer within 0\.3 s"):
        client.statuses("M")


def test_a_server_that_is_not_there_is_named_over_both_protocols() -> None:
    with ServingClient(NOWHERE, f"http://{NOWHERE}", 20.0) as client:
        with pytest.raises(ServingUnreachable, match=f"No model server answers at {NOWHERE} .* is it running"):
            client.statuses("M")
        with pytest.raises(ServingUnreachable, match=f"No model server answers at http://{NOWHERE} "):
            client.rest("GET", "/v1/models/M")


def test_a_proxy_of_the_environment_is_not_for_model_servers(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "grpc_proxy", "https_proxy"):
        monkeypatch.setenv(name, f"http://{NOWHERE}")
    server.call = refusing(grpc.StatusCode.NOT_FOUND, "")
    with server.client() as client:
        assert client.rest("GET", "/v1/models/M") == {}
        assert client.statuses("M") == ()


def test_arrays_go_over_grpc_as_they_are_and_the_version_that_answered_is_told(server: FakeServer) -> None:
    def answer(request: Any, context: grpc.ServicerContext) -> Any:
        reply = PredictResponse(outputs={"y": to_proto(np.array([[b"\x00\xff"]], object))})
        reply.model_spec.version.value = 7
        return reply

    server.call = answer
    with server.client() as client:
        found = client.predict_grpc(Target("M", label="stable"), "call", {"x": np.array([1.5], np.float32)})
    assert (found.outputs["y"].tolist(), found.version) == ([[b"\x00\xff"]], 7)
    assert found.seconds > 0
    (asked,) = server.asked
    assert (asked.model_spec.version_label, asked.model_spec.signature_name) == ("stable", "call")
    assert list(asked.inputs["x"].float_val) == [1.5] or asked.inputs["x"].tensor_content == b"\x00\x00\xc0\x3f"


def test_an_array_that_no_tensor_holds_is_the_callers_fault(server: FakeServer) -> None:
    with server.client() as client, pytest.raises(InvalidInput):
        client.predict_grpc(Target("M"), "call", {"x": np.array([np.datetime64("2026-01-01")])})
    assert server.asked == []


def test_bytes_and_numbers_that_json_lacks_go_over_rest(server: FakeServer) -> None:
    server.body = b'{"outputs": [[NaN, Infinity, 1e-3]]}'
    inputs = {"x": np.array([np.nan, -np.inf], np.float32), "png": np.array([[b"\x00\xff"]], object)}
    with server.client() as client:
        found = client.predict_rest(Target("M", version=7), "call", inputs, AFFINE)
    np.testing.assert_array_equal(found.outputs["y"], np.array([[np.nan, np.inf, 1e-3]], np.float32))
    assert found.outputs["y"].dtype == np.float32
    assert found.version is None
    ((method, path, body),) = server.asked
    assert (method, path) == ("POST", "/v1/models/M/versions/7:predict")
    assert (body["signature_name"], body["inputs"]["png"]) == ("call", [[{"b64": "AP8="}]])
    assert str(body["inputs"]["x"]) == "[nan, -inf]"


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        ('[["a", {"b64": "/w=="}]]', [[b"a", b"\xff"]]),
        ('"a"', b"a"),
        ("[[], []]", [[], []]),
        ('["é"]', ["é".encode()]),
    ],
)
def test_texts_and_bytes_come_back_in_the_shape_that_they_have(
    server: FakeServer, outputs: str, expected: object
) -> None:
    server.body = f'{{"outputs": {outputs}}}'.encode()
    spec = SignatureSpec({}, {"text": TensorSpec("string", None)})
    with server.client() as client:
        found = client.predict_rest(Target("M"), "call", {}, spec).outputs["text"]
    assert found.tolist() == expected


def test_several_outputs_come_by_their_names(server: FakeServer) -> None:
    spec = SignatureSpec({}, {"a": TensorSpec("int64", (None,)), "b": TensorSpec("float32", ())})
    server.body = b'{"outputs": {"b": 0.5, "a": [1, 2]}}'
    with server.client() as client:
        found = client.predict_rest(Target("M"), "call", {}, spec).outputs
    assert {name: (array.tolist(), array.dtype.name) for name, array in found.items()} == {
        "a": ([1, 2], "int64"),
        "b": (0.5, "float32"),
    }
    server.body = b'{"outputs": {"a": [1, 2]}}'
    with server.client() as client, pytest.raises(ServingRefused, match="without the outputs a, b: it serves another"):
        client.predict_rest(Target("M"), "call", {}, spec)


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (404, b'{"error": "Servable not found"}', "answered 404: Servable not found"),
        (500, b"<html>trouble</html>", "answered 500: <html>trouble</html>"),
        (200, b"not JSON", "answered 200: not JSON"),
        (200, b"[1]", r"answered 200: \[1\]"),
        (
            400,
            json.dumps({"error": f"Not: {'A' * 9000} a float"}).encode(),
            r"answered 400: Not: A{145} … A{142} a float$",
        ),
    ],
)
def test_an_answer_that_is_none_is_refused_with_what_it_said(
    server: FakeServer, status: int, body: bytes, said: str
) -> None:
    server.status, server.body = status, body
    with server.client() as client, pytest.raises(ServingRefused, match=said) as told:
        client.rest("GET", "/v1/models/M")
    assert told.value.code == str(status)


def test_a_rest_answer_that_does_not_come_is_given_up(server: FakeServer) -> None:
    server.wait = threading.Event()
    with server.client(0.3) as client, pytest.raises(DeadlineExceeded, match=r"did not answer within 0\.3 s"):
        client.rest("GET", "/v1/models/M")
    server.wait.set()

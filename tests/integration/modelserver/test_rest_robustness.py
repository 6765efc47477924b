"""What a model server must live through: malformed requests of every kind, huge ones, slow and vanishing clients.

`SLIPWAY_TEST_EXAMPLES=10000` asks that many malformed requests of each kind instead of a few hundred.
"""

import contextlib
import http.client
import json
import os
import re
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.wire.protos import (
    ClassificationRequest,
    GetModelMetadataRequest,
    GetModelStatusRequest,
    MultiInferenceRequest,
    PredictRequest,
    RegressionRequest,
)
from tests.helpers.local import until
from tests.integration.modelserver.rest_server import RestServer

EXAMPLES = int(os.environ.get("SLIPWAY_TEST_EXAMPLES", "250"))
many = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
SECONDS = 30.0

# Requests


class Client:
    """One connection that is opened again whenever the server closes it."""

    def __init__(self, server: RestServer) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=SECONDS)

    def ask(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Status and content; a connection that the server has closed is tried once more."""
        for attempt in (1, 2):
            try:
                self._connection.request(method, path, body)
                reply = self._connection.getresponse()
                return reply.status, reply.read()
            except (http.client.HTTPException, ConnectionError):
                self._connection.close()
                if attempt == 2:
                    raise
        raise AssertionError

    def close(self) -> None:
        """Leave."""
        self._connection.close()


@pytest.fixture(scope="module")
def client(rest_server: RestServer) -> Iterator[Client]:
    """A client of the server under test."""
    one = Client(rest_server)
    yield one
    one.close()


def check(status: int, content: bytes) -> None:
    """The reply is right, or the fault is the client's; 501 is TensorFlow Serving's word for types it can't read."""
    assert status in (200, 400, 404, 501), content[:500]
    if content.startswith(b"{"):
        document = json.loads(content.decode("utf-8", "replace"))
        assert (status == 200) == ("error" not in document)


SIGNATURES = ("echo_float32", "echo_float64", "echo_int8", "echo_int32", "echo_int64", "echo_uint64", "echo_bool",
              "echo_string", "echo_float16", "any_rank", "scalar", "matrix", "absent", "")  # fmt: skip
numbers = st.integers(-(2**70), 2**70) | st.floats() | st.sampled_from([0, 1, -1, 2**31, 2**63, 2**64, 1e39])
scalars = numbers | st.none() | st.booleans() | st.text(max_size=5) | st.just({"b64": "AAE="}) | st.just({"b64": "!"})
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("xyb"), inner), max_leaves=10
)
documents = st.fixed_dictionaries(
    {},
    optional={
        "signature_name": st.sampled_from(SIGNATURES) | scalars,
        "instances": values | st.lists(values, max_size=4),
        "inputs": values,
        "examples": values | st.lists(st.dictionaries(st.sampled_from("xyb"), values), max_size=3),
        "context": values,
        "more": values,
    },
)


SCRAPS = (b"[", b"]", b"{", b"}", b'"', b",", b":", b"\\", b"\0", b"\xff", b"1e", b"NaN", b"-")


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A JSON document with some bytes put in, taken out or cut off."""
    body = bytearray(json.dumps(draw(documents)).encode("utf-8", "surrogatepass"))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(body)))
        match draw(st.integers(0, 3)):
            case 0:
                body[at:at] = draw(
                    st.sampled_from([b"[", b"]", b"{", b"}", b'"', b",", b":", b"\\", b"\0", b"\xff", b"1e"])
                )
            case 1:
                del body[at : at + draw(st.integers(1, 5))]
            case 2:
                body[at:at] = draw(st.binary(max_size=4))
            case _:
                del body[at:]
    return bytes(body)


segments = st.sampled_from(
    ["v1", "V1", "models", "kinds", "digits", "absent", "versions", "labels", "metadata", "1", "2", "-1", "x", "", "..",
     "99999999999999999999", "%41", "%zz", "%00", "%ff", "kinds:predict", ":predict", "kinds:classify", "a b", "é"]
)  # fmt: skip
paths = st.lists(segments, max_size=7).map(lambda parts: "/" + "/".join(parts)) | st.text(max_size=20).map("/{}".format)
verbs = st.sampled_from(["predict", "classify", "regress", "explain"])
targets = st.builds("/v1/models/{}:{}".format, st.sampled_from(["kinds", "examples", "digits"]), verbs)


@many
@given(target=targets, body=mutated() | st.binary(max_size=80))
def test_malformed_bodies_are_answered(client: Client, target: str, body: bytes) -> None:
    check(*client.ask("POST", target, body))


@many
@given(signature=st.sampled_from(SIGNATURES), form=st.sampled_from(["instances", "inputs"]), value=values)
def test_any_value_for_any_signature_is_answered(client: Client, signature: str, form: str, value: Any) -> None:
    body = json.dumps({"signature_name": signature, form: value}).encode("utf-8", "surrogatepass")
    check(*client.ask("POST", "/v1/models/kinds:predict", body))


def on_the_wire(server: RestServer, request: bytes, patience: float = SECONDS) -> bytes:
    """All that comes back for bytes sent as they are; who asks leaves when nothing more comes."""
    reply = b""
    with server.connect(SECONDS) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(request)
        connection.settimeout(patience)
        with contextlib.suppress(TimeoutError):
            while piece := connection.recv(1 << 16):
                reply += piece
    return reply


ENDING = b"GET /v1/models/digits HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
header_lines = st.lists(
    st.sampled_from(
        [b"Content-Length: 5", b"Content-Length: -1", b"Content-Length: x", b"Content-Length: 99999999999999999999",
         b"Transfer-Encoding: chunked", b"Content-Encoding: gzip", b"Expect: 100-continue", b"Upgrade: h2c",
         b"Connection: Upgrade", b"Connection: close", b"Host: \xff", b": empty", b"no colon", b"X: " + b"y" * 5000]
    )
    | st.binary(max_size=20),
    max_size=4,
)  # fmt: skip


@many
@given(
    method=st.sampled_from([b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"TRACE", b"CONNECT", b"FOO", b""]),
    path=paths,
    headers=header_lines,
    body=st.sampled_from([b"", b"{}", b"5\r\nhello\r\n0\r\n\r\n", b"ffffffffffffffff\r\n"]) | st.binary(max_size=20),
)
def test_malformed_requests_are_answered_or_cut_off(
    rest_server: RestServer, method: bytes, path: str, headers: list[bytes], body: bytes
) -> None:
    line = method + b" " + path.encode("utf-8", "surrogatepass") + b" HTTP/1.1"
    reply = on_the_wire(rest_server, b"\r\n".join([line, *headers, b"", b""]) + body + ENDING, patience=0.2)
    for status in re.findall(rb"HTTP/1\.1 ([0-9]{3}) ", reply):
        assert int(status) < 500 or int(status) == 501, reply[:500]


# gRPC

METHODS = {
    "/tensorflow.serving.PredictionService/Predict": PredictRequest,
    "/tensorflow.serving.PredictionService/Classify": ClassificationRequest,
    "/tensorflow.serving.PredictionService/Regress": RegressionRequest,
    "/tensorflow.serving.PredictionService/MultiInference": MultiInferenceRequest,
    "/tensorflow.serving.PredictionService/GetModelMetadata": GetModelMetadataRequest,
    "/tensorflow.serving.ModelService/GetModelStatus": GetModelStatusRequest,
}
OURS_TO_BLAME = (grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


@pytest.fixture(scope="module")
def channel(rest_server: RestServer) -> Iterator[grpc.Channel]:
    """A gRPC channel to the server under test."""
    with grpc.insecure_channel(f"127.0.0.1:{rest_server.grpc_port}") as one:
        yield one


def call(channel: grpc.Channel, method: str, request: bytes) -> None:
    """The call is answered, or refused for the client's own fault."""
    problem: Any = None
    try:
        channel.unary_unary(method)(request, timeout=SECONDS)  # type: ignore[arg-type]
    except grpc.RpcError as error:
        problem = error
    if problem is not None:
        assert problem.code() not in OURS_TO_BLAME, problem.details()
        if problem.code() is grpc.StatusCode.INTERNAL:  # gRPC's code for bytes that are not a message
            assert any(word in problem.details() for word in ("deserializ", "method_name")), problem.details()


specs = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["kinds", "digits", "examples", "absent", ""]),
        "signature_name": st.sampled_from([*SIGNATURES, "classify", "regress"]),
        "version": st.integers(-(2**63), 2**63 - 1),
        "version_label": st.text(max_size=3),
    },
)
tensors = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.integers(0, 30) | st.sampled_from([1, 1, 1, 2, 3, 7, 9, 101, 2**31 - 1]),
        "dims": st.lists(st.integers(-2, 3) | st.sampled_from([2**62, -(2**63), 0, 100]), max_size=5),
        "unknown_rank": st.booleans(),
        "tensor_content": st.binary(max_size=40),
        "float_val": st.lists(st.floats(width=32), max_size=5),
        "int_val": st.lists(st.integers(-(2**31), 2**31 - 1), max_size=5),
        "string_val": st.lists(st.binary(max_size=4), max_size=5),
        "half_val": st.lists(st.integers(0, 2**16), max_size=3),
        "version_number": st.integers(-3, 3),
    },
)


def fill_spec(spec: Any, fields: dict[str, Any]) -> None:
    for field, value in fields.items():
        if field == "version":
            spec.version.value = value
        else:
            setattr(spec, field, value)


def fill_tensor(tensor: Any, fields: dict[str, Any]) -> None:
    for field, value in fields.items():
        if field == "dims":
            for size in value:
                tensor.tensor_shape.dim.add().size = size
        elif field == "unknown_rank":
            tensor.tensor_shape.unknown_rank = value
        elif isinstance(value, list):
            getattr(tensor, field).extend(value)
        else:
            setattr(tensor, field, value)


@many
@given(
    spec=specs,
    inputs=st.dictionaries(st.sampled_from(["x", "inputs", "y", ""]), tensors, max_size=3),
    outputs=st.lists(st.sampled_from(["y", "x", ""]), max_size=2),
)
def test_any_predict_message_is_answered(
    channel: grpc.Channel, spec: dict[str, Any], inputs: dict[str, dict[str, Any]], outputs: list[str]
) -> None:
    request = PredictRequest(output_filter=outputs)
    fill_spec(request.model_spec, spec)
    for alias, tensor in inputs.items():
        fill_tensor(request.inputs[alias], tensor)
    call(channel, "/tensorflow.serving.PredictionService/Predict", request.SerializeToString())


@many
@given(method=st.sampled_from(list(METHODS)), spec=specs, noise=st.binary(max_size=30), count=st.integers(0, 2))
def test_any_bytes_are_answered_as_a_message(
    channel: grpc.Channel, method: str, spec: dict[str, Any], noise: bytes, count: int
) -> None:
    request = METHODS[method]()
    if hasattr(request, "model_spec"):
        fill_spec(request.model_spec, spec)
    for _ in range(count if hasattr(request, "input") else 0):
        request.input.example_list.examples.add().features.feature["x"].float_list.value.append(1.5)
    call(channel, method, request.SerializeToString() + noise)


# Large bodies, slow clients, clients that leave


def answers(server: RestServer) -> bool:
    """Whether an ordinary request is answered rightly."""
    return bool(server.predict("kinds", {"inputs": [1.5]}, "echo_float32") == {"outputs": [1.5]})


@pytest.fixture(scope="module")
def patient_server(rest_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RestServer]:
    """A server that gives a request two minutes: reading its body counts."""
    server = RestServer(rest_models, tmp_path_factory.mktemp("patient"), "--rest_api_timeout_in_ms=120000")
    yield server
    server.kill()


@pytest.mark.parametrize(("end", "reply"), [(b"]}", b"200 "), (b"]", b"400 ")])
def test_a_body_of_200_megabytes_is_answered(patient_server: RestServer, end: bytes, reply: bytes) -> None:
    body = b'{"signature_name": "total", "inputs": [' + b"1.5, " * (40 * 2**20) + b"2" + end
    assert len(body) > 200 * 2**20
    with patient_server.connect(120) as connection:
        head = f"POST /v1/models/kinds:predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        sender = threading.Thread(target=lambda: connection.sendall(head.encode() + body))
        sender.start()
        assert answers(patient_server)
        sender.join()
        assert answers(patient_server)
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 " + reply)
    assert answers(patient_server)


def test_a_body_beyond_every_limit_is_refused_before_it_is_sent(rest_server: RestServer) -> None:
    head = b"POST /v1/models/kinds:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000000\r\n\r\n{"
    assert on_the_wire(rest_server, head).startswith(b"HTTP/1.1 413 ")
    assert answers(rest_server)


def test_500_slow_clients_hinder_nobody(rest_server: RestServer) -> None:
    body = json.dumps({"signature_name": "echo_int64", "instances": list(range(200))}).encode()
    head = f"POST /v1/models/kinds:predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(rest_server.connect(60)) for _ in range(500)]
        for at, size in ((0, 10), (10, len(head) - 20), (len(head) - 10, 20), (len(head) + 10, 100)):
            for one in clients:
                one.sendall((head + body)[at : at + size])
            assert answers(rest_server)
        for one in clients:
            one.sendall((head + body)[len(head) + 110 :])
        for one in clients:
            assert one.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
    assert answers(rest_server)


def test_clients_that_hang_up_in_the_middle_leave_nothing_behind(rest_server: RestServer) -> None:
    body = json.dumps({"instances": [[[[0.5]] * 28] * 28] * 8}).encode()
    head = f"POST /v1/models/digits:predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    request = head + body
    assert answers(rest_server)
    before = rest_server.connections()
    for number in range(300):
        connection = rest_server.connect()
        connection.sendall(request[: (number * 997) % len(request)])
        if number % 2:  # a reset instead of an orderly end
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    assert answers(rest_server)
    until(lambda: rest_server.connections() <= before, "the connections of clients that left are closed")


def test_clients_that_do_not_read_their_reply_hinder_nobody(rest_server: RestServer) -> None:
    body = json.dumps({"signature_name": "echo_float32", "instances": [0.123456789] * 100_000}).encode()
    head = f"POST /v1/models/kinds:predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(rest_server.connect(60)).sendall(head + body)
        for _ in range(20):
            assert answers(rest_server)


def test_requests_in_one_go_are_answered_in_their_order(rest_server: RestServer) -> None:
    bodies = [json.dumps({"signature_name": "echo_int64", "inputs": [number]}).encode() for number in range(50)]
    head = "POST /v1/models/kinds:predict HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n"
    with rest_server.connect() as connection:
        connection.sendall(b"".join([head.format(len(body)).encode() + body for body in bodies]))
        replies = b""
        while replies.count(b'"outputs"') < 50 or not replies.endswith(b"}"):
            replies += connection.recv(1 << 16)
    found = [int(part.split(b"[")[1].split(b"]")[0]) for part in replies.split(b'"outputs": ')[1:]]
    assert found == list(range(50))


def test_an_offer_to_upgrade_is_passed_over(rest_server: RestServer) -> None:
    body = b'{"signature_name": "echo_int64", "inputs": [7]}'
    head = (
        f"POST /v1/models/kinds:predict HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        f"HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    assert b'"outputs": [\n        7\n    ]' in on_the_wire(rest_server, head.encode() + body + ENDING)

"""The REST API of a real model server, asked over the wire."""

import gzip
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest
import requests

from infra.modelserver.flags import Flags
from tasks.wire.protos import PredictionServiceStub, PredictRequest
from tests.integration.modelserver.process import tensor
from tests.integration.modelserver.rest_server import RestServer

SECONDS = 3.0  # that a request may take there
ECHO = "/v1/models/kinds:predict"


@pytest.mark.parametrize(
    ("dtype", "sent", "answered"),
    [
        ("float32", [1.5, 2, -0.1], [1.5, 2.0, -0.1]),
        ("float64", [1e300, 1 / 3], [1e300, 1 / 3]),
        ("int8", [1, 200], [1, -56]),
        ("int16", [-1, 40000], [-1, -25536]),
        ("int32", [2**31 - 1], [2**31 - 1]),
        ("int64", [-(2**63)], [-(2**63)]),
        ("uint8", [255, 256], [255, 0]),
        ("uint32", [2**32 - 1], [2**32 - 1]),
        ("uint64", [2**64 - 1], [2**64 - 1]),
        ("bool", [True, False], [True, False]),
        ("string", ["é\0\n", ""], ["é\0\n", ""]),
    ],
)
def test_every_type_goes_there_and_back(
    rest_server: RestServer, dtype: str, sent: list[object], answered: list[object]
) -> None:
    assert rest_server.predict("kinds", {"instances": sent}, f"echo_{dtype}") == {"predictions": answered}
    assert rest_server.predict("kinds", {"inputs": {"x": sent}}, f"echo_{dtype}") == {"outputs": answered}


def test_whole_floats_stay_floats(rest_server: RestServer) -> None:
    body = json.dumps({"signature_name": "echo_float32", "instances": [3]}).encode()
    assert rest_server.post(ECHO, body).content == b'{\n    "predictions": [3.0\n    ]\n}'


def test_nan_and_infinity_are_bare_words(rest_server: RestServer) -> None:
    body = b'{"signature_name": "echo_float32", "instances": [NaN, Infinity, -Infinity]}'
    assert rest_server.post(ECHO, body).content == b'{\n    "predictions": [NaN, Infinity, -Infinity\n    ]\n}'


@pytest.mark.parametrize(
    ("dtype", "status", "text"),
    [
        ("float16", 501, "Conversion of JSON Value: 1 to type: half"),
        ("bfloat16", 501, "Conversion of JSON Value: 1 to type: bfloat16"),
        ("uint16", 501, "Conversion of JSON Value: 1 to type: uint16"),
        ("complex64", 501, "Conversion of JSON Value: 1 to type: complex64"),
    ],
)
def test_types_without_a_form_in_json_are_refused(rest_server: RestServer, dtype: str, status: int, text: str) -> None:
    assert rest_server.error(ECHO, {"signature_name": f"echo_{dtype}", "inputs": [1]}) == (status, text)


def test_shapes_of_any_rank_are_taken(rest_server: RestServer) -> None:
    assert rest_server.predict("kinds", {"inputs": 2}, "any_rank") == {"outputs": 2.0}
    assert rest_server.predict("kinds", {"inputs": [[[1], [2]]]}, "any_rank") == {"outputs": [[[1.0], [2.0]]]}
    assert rest_server.predict("kinds", {"inputs": 2}, "scalar") == {"outputs": 2.0}


def test_examples_are_classified_and_regressed(rest_server: RestServer) -> None:
    classified = rest_server.post("/v1/models/examples:classify", {"examples": [{"x": 0.25}, {"x": [1.0]}]})
    assert json.loads(classified.content) == {
        "results": [[["small", 0.25], ["large", 0.75]], [["small", 1.0], ["large", 0.0]]]
    }
    regressed = rest_server.post(
        "/v1/models/examples/versions/1:regress",
        {"signature_name": "regress", "context": {"bias": 10.0}, "examples": [{"x": 0.25}, {"x": 1.0}]},
    )
    assert json.loads(regressed.content) == {"results": [10.5, 12.0]}


def test_a_missing_feature_is_tensorflows_own_error(rest_server: RestServer) -> None:
    status, text = rest_server.error("/v1/models/examples:classify", {"examples": [{"y": 1.0}]})
    assert status == 400
    assert text.startswith("Name: <unknown>, Feature: x (data type: float) is required but could not be found.")


def test_a_gzip_body_is_unpacked(rest_server: RestServer) -> None:
    body = gzip.compress(json.dumps({"signature_name": "echo_int64", "instances": [5]}).encode())
    reply = rest_server.post(ECHO, body, headers={"Content-Encoding": "gzip"})
    assert json.loads(reply.content) == {"predictions": [5]}


@pytest.mark.parametrize(
    "body",
    [b"no gzip", gzip.compress(b"{}")[:-3], gzip.compress(b"{}") + b"more"],
    ids=["no gzip", "cut off", "with more behind it"],
)
def test_a_broken_gzip_body_is_an_empty_document(rest_server: RestServer, body: bytes) -> None:
    reply = rest_server.post(ECHO, body, headers={"Content-Encoding": "gzip"})
    assert (reply.status_code, reply.json()) == (400, {"error": "JSON Parse error: The document is empty"})


def test_a_gzip_bomb_is_an_empty_document(rest_server: RestServer) -> None:
    bomb = gzip.compress(b" " * (101 * 2**20), compresslevel=1)
    reply = rest_server.post(ECHO, bomb, headers={"Content-Encoding": "gzip"})
    assert reply.json() == {"error": "JSON Parse error: The document is empty"}


def test_a_request_that_takes_too_long_is_ended_while_others_are_answered(rest_server: RestServer) -> None:
    answered = 0
    slow = threading.Thread(
        target=lambda: replies.append(rest_server.post(ECHO, {"signature_name": "spin", "inputs": [10**10]}))
    )
    replies: list[requests.Response] = []
    slow.start()
    while slow.is_alive():
        assert rest_server.predict("kinds", {"inputs": [1.0]}, "echo_float32") == {"outputs": [1.0]}
        answered += 1
    slow.join()
    assert (replies[0].status_code, replies[0].json()) == (504, {"error": "Timed out waiting for notification"})
    assert answered > 5


def test_a_model_that_is_quick_for_small_numbers_holds_no_other_with_a_large_one(rest_server: RestServer) -> None:
    for _ in range(30):
        rest_server.predict("kinds", {"inputs": 2}, "product")
    large = threading.Thread(
        target=lambda: replies.append(rest_server.post(ECHO, {"signature_name": "product", "inputs": 6000}))
    )
    replies: list[requests.Response] = []
    large.start()
    answered = 0
    while large.is_alive():
        rest_server.predict("digits", {"inputs": np.zeros([1, 28, 28, 1]).tolist()})
        answered += 1
    large.join()
    assert (replies[0].status_code, replies[0].json()) == (504, {"error": "Timed out waiting for notification"})
    assert answered > 5


def test_a_model_asked_by_more_than_its_threads_keeps_only_its_own_clients_waiting(rest_server: RestServer) -> None:
    crowd = 3 * Flags().grpc_max_threads
    request = PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "kinds", "spin"
    request.inputs["rounds"].CopyFrom(tensor([10**12], np.int64))
    with grpc.insecure_channel(f"127.0.0.1:{rest_server.grpc_port}") as channel, ThreadPoolExecutor(crowd) as clients:
        predict = PredictionServiceStub(channel).Predict
        calls = [predict.future(request, timeout=SECONDS) for _ in range(crowd)]
        asked = [
            clients.submit(rest_server.post, ECHO, {"signature_name": "spin", "inputs": [10**12]})
            for _ in range(crowd)
        ]  # fmt: skip
        other = PredictRequest()
        other.model_spec.name = "digits"
        other.inputs["inputs"].CopyFrom(tensor(np.zeros([1, 28, 28, 1])))
        answered = 0
        while not all(one.done() for one in (*calls, *asked)):
            predict(other, timeout=SECONDS)
            rest_server.predict("digits", {"inputs": np.zeros([1 + answered % 9, 28, 28, 1]).tolist()})
            answered += not any(one.done() for one in (*calls, *asked))
        assert {call.code() for call in calls} == {grpc.StatusCode.DEADLINE_EXCEEDED}
        assert {reply.result().status_code for reply in asked} == {504}
    assert answered > 5


def test_status_and_metadata_are_answered(rest_server: RestServer) -> None:
    status = requests.get(f"{rest_server.url}/v1/models/digits/labels/any", timeout=10).json()
    assert [one["state"] for one in status["model_version_status"]] == ["AVAILABLE"]
    metadata = requests.get(f"{rest_server.url}/v1/models/digits/versions/1/metadata", timeout=10).json()
    assert metadata["model_spec"] == {"name": "digits", "signature_name": "", "version": "1"}
    signatures = metadata["metadata"]["signature_def"]["signature_def"]
    assert signatures["serving_default"]["inputs"]["inputs"]["dtype"] == "DT_FLOAT"


@pytest.mark.parametrize(
    ("method", "path", "status", "content"),
    [
        ("GET", "/", 404, b"<H1>Not Found</H1>"),
        ("GET", "/v1", 404, b"<H1>Not Found</H1>"),
        ("POST", "/v2/models/digits:predict", 404, b"<H1>Not Found</H1>"),
        ("GET", "/v1/models/%zz", 400, b"<H1>Bad Request</H1>"),
        ("TRACE", "/v1/models/digits", 501, b"<H1>Not Implemented</H1>"),
        ("PUT", "/v1/models/digits", 400, b'"Malformed request: PUT /v1/models/digits"'),
        ("GET", "/v1/models/digits/versions/9223372036854775808", 400, b""),
        ("POST", "/v1/models/digits:predict?v=1", 400, b"Malformed request: POST /v1/models/digits:predict?v=1"),
    ],
)
def test_what_is_no_request_of_ours_is_refused(
    rest_server: RestServer, method: str, path: str, status: int, content: bytes
) -> None:
    connection = rest_server.connect()
    connection.sendall(f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    reply = b"".join(iter(lambda: connection.recv(4096), b""))
    assert reply.startswith(f"HTTP/1.1 {status} ".encode())
    assert content in reply
    if not content:
        assert reply.endswith(b"\r\n\r\n")


def test_browsers_are_answered_where_the_flag_says_so(rest_models: Path, tmp_path: Path) -> None:
    server = RestServer(rest_models, tmp_path, "--rest_api_enable_cors_support=true")
    try:
        url = f"{server.url}{ECHO}"
        asked = requests.options(url, timeout=10, headers={"Origin": "https://example.com"})
        assert (asked.status_code, asked.headers["Access-Control-Allow-Methods"]) == (200, "POST, GET")
        assert requests.options(url, timeout=10).status_code == 400
        answered = server.post(ECHO, {"signature_name": "scalar", "inputs": 1})
        assert (answered.status_code, answered.headers["Access-Control-Allow-Origin"]) == (200, "*")
        server.stop()
    finally:
        server.kill()


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "https://example.com"}, {"Sec-Fetch-Site": "same-site"}, {"Host": "page.example:8501"}],
    ids=lambda headers: next(iter(headers)),
)
def test_browsers_are_refused_where_it_does_not(rest_server: RestServer, headers: dict[str, str]) -> None:
    data = json.dumps({"signature_name": "scalar", "inputs": 1})
    for method, content in (("GET", None), ("POST", data)):
        asked = requests.request(method, f"{rest_server.url}{ECHO}", data=content, timeout=10, headers=headers)
        assert (asked.status_code, "Web pages may not ask" in asked.json()["error"]) == (403, True)
        assert "Access-Control-Allow-Origin" not in asked.headers
    preflight = requests.options(f"{rest_server.url}{ECHO}", timeout=10, headers=headers)
    assert preflight.status_code == (200 if "Origin" in headers else 400)
    allowed = [name for name in preflight.headers if name.lower().startswith("access-control")]
    assert (allowed, preflight.content) == ([], b""), "a browser takes it for a no"


def test_a_picture_is_answered_alike_by_one_row_and_by_many(rest_server: RestServer) -> None:
    pictures = np.random.default_rng(3).random((40, 28, 28, 1)).astype(np.float32)
    many = rest_server.predict("digits", {"instances": pictures.tolist()})["predictions"]
    named = rest_server.predict("digits", {"instances": [{"inputs": one.tolist()} for one in pictures]})["predictions"]
    one = rest_server.predict("digits", {"inputs": pictures[:1].tolist()})["outputs"]
    assert np.allclose(many, named, atol=0)
    assert np.allclose(many[0], one[0], atol=1e-6)
    assert np.allclose(np.sum(many, axis=1), 1, atol=1e-5)

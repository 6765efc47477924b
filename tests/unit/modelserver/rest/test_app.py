"""The REST application apart from HTTP: bodies that are packed, and the metrics page."""

import asyncio
import gc
import gzip

import pytest
import simdjson

from infra.modelserver.lifecycle.manager import Manager
from infra.modelserver.lifecycle.states import StateMonitor
from infra.modelserver.metrics import Metrics
from infra.modelserver.rest.app import RestApp, RestOptions, unzip
from infra.modelserver.rest.dispatch import Dispatcher
from infra.modelserver.rest.protocol import Reply, Request


@pytest.mark.parametrize("content", [b"", b"x", b"{}" * 100_000])
def test_gzip_bodies_are_unpacked(content: bytes) -> None:
    assert unzip(gzip.compress(content)) == content


@pytest.mark.parametrize(
    "body",
    [b"x", gzip.compress(b"x")[:-1], gzip.compress(b"x") + b"y", gzip.compress(b"x") * 2],
    ids=["no gzip", "cut off", "with more behind it", "two files"],
)
def test_what_is_no_single_gzip_file_is_empty(body: bytes) -> None:
    assert unzip(body) == b""


def test_the_metrics_page_is_text_whatever_names_clients_made_up() -> None:
    metrics = Metrics()
    metrics.record_request("a\udcff", "Predict", "REST", "NOT_FOUND", 0.1)
    manager = Manager(lambda *_: None, StateMonitor())  # type: ignore[arg-type]

    async def run() -> Reply:
        dispatcher = Dispatcher(1, manager.serves)
        app = RestApp(manager, RestOptions(dispatcher, metrics, monitoring_path="/metrics"))
        try:
            return await app.answer(Request("GET", "/metrics", [], keep_alive=True))
        finally:
            dispatcher.close()

    reply = asyncio.run(run())
    assert reply.status == 200
    assert 'model_name="a\N{REPLACEMENT CHARACTER}"' in reply.body.decode()


@pytest.mark.parametrize(
    ("method", "uri"),
    [("HEAD", "/v1/models/m"), ("POST", "/v1/models/m:nope"), ("GET", f"/v1/models/m/versions/{2**63}")],
    ids=["HEAD", "no such verb", "version beyond int64"],
)
def test_a_request_that_names_nothing_to_ask_counts_under_no_name(method: str, uri: str) -> None:
    metrics = Metrics()
    manager = Manager(lambda *_: None, StateMonitor())  # type: ignore[arg-type]

    async def run() -> Reply:
        dispatcher = Dispatcher(1, manager.serves)
        try:
            return await RestApp(manager, RestOptions(dispatcher, metrics)).answer(
                Request(method, uri, [], keep_alive=True)
            )
        finally:
            dispatcher.close()

    assert asyncio.run(run()).status == 400
    assert ':tensorflow:serving:request_count{model_name="",status="INVALID_ARGUMENT"} 1' in metrics.page()


def predict(app: RestApp, body: bytes, *headers: tuple[bytes, bytes]) -> asyncio.Task[Reply]:
    request = Request("POST", "/v1/models/m:predict", list(headers), keep_alive=True, pieces=[body], size=len(body))
    return asyncio.ensure_future(app.answer(request))


@pytest.mark.parametrize("zipped", [False, True])
def test_heavy_bodies_are_read_in_turn_and_light_ones_pass_them_by(zipped: bool) -> None:
    manager = Manager(lambda *_: None, StateMonitor())  # type: ignore[arg-type]
    body = b'{"instances": [' + b"[]," * 400_000 + b"[]]}"
    heavy = (gzip.compress(body), (b"content-encoding", b"gzip")) if zipped else (body,)
    light = (gzip.compress(b"{}"), (b"content-encoding", b"gzip")) if zipped else (b"{}",)

    async def run() -> list[int]:
        dispatcher = Dispatcher(8, manager.serves)
        app = RestApp(manager, RestOptions(dispatcher, Metrics(), timeout=2.0))
        try:
            with app._turns.turn(None):  # another one is being read
                waiting = [predict(app, *heavy) for _ in range(4)]
                passing = await predict(app, *light)
                waited = [(await reply).status for reply in waiting]
            return [passing.status, *waited, (await predict(app, *heavy)).status]
        finally:
            dispatcher.close()

    assert asyncio.run(run()) == [404, *[504] * 4, 404]


def test_what_was_made_of_a_request_that_failed_is_freed_at_once() -> None:
    manager = Manager(lambda *_: None, StateMonitor())  # type: ignore[arg-type]

    def documents() -> int:
        return sum(isinstance(one, simdjson.Object) for one in gc.get_objects())

    async def run() -> int:
        dispatcher = Dispatcher(1, manager.serves)
        app = RestApp(manager, RestOptions(dispatcher, Metrics()))
        gc.collect()
        gc.disable()  # so that only what nothing refers to is freed
        try:
            before = documents()
            assert (await predict(app, b'{"instances": [' + b"[]," * 400_000 + b"[]]}")).status == 404
            return documents() - before
        finally:
            gc.enable()
            dispatcher.close()

    assert asyncio.run(run()) == 0

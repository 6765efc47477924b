"""Reading a request's body, piece by piece."""

import asyncio
import gzip
from collections.abc import Iterable
from typing import Any

import pytest

from infra.modelserver.rest.app import MAX_BODY_BYTES, Reply, read_body, unzip

NO_HEADERS: dict[str, Any] = {"headers": []}


def read(messages: Iterable[dict[str, Any]], scope: dict[str, Any] = NO_HEADERS, idle_seconds: float = 5.0) -> Any:
    """What is read of these messages, after which nothing more comes."""
    waiting = iter(messages)

    async def receive() -> dict[str, Any]:
        message = next(waiting, None)
        if message is None:
            await asyncio.Event().wait()
        return message or {}

    return asyncio.run(read_body(scope, receive, idle_seconds))


def piece(body: bytes, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


def test_pieces_are_put_together() -> None:
    assert read([piece(b"whole", more=False)]) == b"whole"
    assert read([piece(b"a"), piece(b""), piece(b"bc"), piece(b"", more=False)]) == b"abc"
    assert read([{"type": "http.request"}]) == b""


def test_a_client_that_leaves_gets_no_reply() -> None:
    assert read([piece(b"a"), {"type": "http.disconnect"}]) is None


def test_a_client_that_stops_sending_is_told_so() -> None:
    reply = read([piece(b"a")], idle_seconds=0.01)
    assert isinstance(reply, Reply)
    assert reply.status == 408


def test_a_body_too_large_is_refused_by_its_header_or_as_it_comes() -> None:
    declared = read([], {"headers": [(b"content-length", b"%d" % (MAX_BODY_BYTES + 1))]})
    huge = piece(bytes(2**29))
    arrived = read([huge, huge, huge, huge])
    assert (declared.status, arrived.status) == (413, 413)


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

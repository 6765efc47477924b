"""What gets through to the stack's web servers, over HTTP and WebSockets."""

import asyncio
import base64
import json
import os
from collections.abc import MutableMapping
from typing import Any

import pytest

from infra.browsers import Hosts
from infra.stack import guard
from infra.stack.guard import Guard

LOGIN = "slipway:secret"
HOST = (b"host", b"127.0.0.1:4200")
BASIC = (b"authorization", b"Basic " + base64.b64encode(LOGIN.encode()))
OURS, OTHERS, UNKNOWN = os.geteuid(), os.geteuid() + 1, None


class Inside:
    """An application that notes what reaches it."""

    def __init__(self) -> None:
        self.scopes: list[Any] = []
        self.messages: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        if scope["type"] == "websocket":
            self.messages = [await receive(), await receive(), await receive()]
        elif scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})


def ask(
    *headers: tuple[bytes, bytes], kind: str = "http", path: str = "/api/flows/", open_paths: Any = None, **changes: Any
) -> tuple[Inside, list[MutableMapping[str, Any]]]:
    """What reaches the application, and what is sent back."""
    inside, sent = Inside(), []
    scope = {"type": kind, "path": path, "headers": [HOST, *headers], "client": ("127.0.0.1", 50000)}
    scope |= {"server": ("127.0.0.1", 4200), "method": "POST"} | changes
    texts = [json.dumps(message) for message in ({"type": "auth"}, {"type": "auth"})]
    coming = iter([{"type": "websocket.connect"}, *({"type": "websocket.receive", "text": text} for text in texts)])

    async def receive() -> Any:
        return next(coming)

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    asyncio.run(Guard(inside, Hosts("127.0.0.1", 4200), LOGIN, open_paths)(scope, receive, send))
    return inside, sent


@pytest.fixture
def peer(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.setattr(guard, "owner", lambda client, server: request.param)


@pytest.mark.parametrize("peer", [OURS], indirect=True)
@pytest.mark.usefixtures("peer")
class TestOfTheStacksOwnUser:
    def test_a_program_needs_no_log_in(self) -> None:
        inside, _ = ask()
        assert BASIC in inside.scopes[0]["headers"]

    def test_a_websocket_that_logs_in_without_a_token_is_given_it_once(self) -> None:
        inside, _ = ask(kind="websocket")
        tokens = [json.loads(message["text"]).get("token") for message in inside.messages[1:]]
        assert tokens == [LOGIN, None]

    @pytest.mark.parametrize(
        "header",
        [
            (b"origin", b"http://127.0.0.1:4200"),
            (b"sec-fetch-site", b"none"),
            (b"cookie", b"a=b"),
            (b"referer", b"http://127.0.0.1:4200/"),
            (b"x-forwarded-for", b"10.0.0.7"),
            (b"forwarded", b"for=10.0.0.7"),
            (b"via", b"1.1 proxy"),
            (b"authorization", b"Basic d3Jvbmc6b25l"),
        ],
    )
    def test_a_browser_a_proxy_and_a_wrong_log_in_are_given_nothing(self, header: tuple[bytes, bytes]) -> None:
        inside, _ = ask(header)
        assert BASIC not in inside.scopes[0]["headers"]
        assert ask(header, open_paths=())[1][0]["status"] == 401

    @pytest.mark.parametrize("kind", ["http", "websocket"])
    @pytest.mark.parametrize(
        "headers", [[(b"origin", b"http://page.example")], [(b"sec-fetch-site", b"cross-site")], [(b"host", b"page")]]
    )
    def test_a_foreign_page_gets_no_further_whatever_it_knows(self, kind: str, headers: Any) -> None:
        inside, sent = ask(*headers, BASIC, kind=kind)
        assert not inside.scopes
        assert sent[0].get("status") in ((403, 421) if kind == "http" else (None,))
        assert sent[0]["type"] in ("http.response.start", "websocket.close")
        assert not [name for name, _ in sent[0].get("headers", []) if name.startswith(b"access-control")]


@pytest.mark.parametrize("peer", [OTHERS, UNKNOWN], indirect=True)
@pytest.mark.usefixtures("peer")
class TestOfAnotherUser:
    def test_what_the_application_asks_for_is_left_to_it(self) -> None:
        inside, _ = ask()
        assert inside.scopes[0]["headers"] == [HOST]
        inside, _ = ask(kind="websocket")
        assert "token" not in json.loads(inside.messages[1]["text"])

    def test_the_guard_asks_for_a_log_in_where_the_application_does_not(self) -> None:
        inside, sent = ask(open_paths=("/health",))
        assert not inside.scopes
        assert sent[0]["status"] == 401
        assert b"www-authenticate" in dict(sent[0]["headers"])

    def test_the_right_log_in_opens(self) -> None:
        assert ask(BASIC, open_paths=())[0].scopes
        assert ask(path="/health", open_paths=("/health",))[0].scopes
        assert not ask(path="/health/x", open_paths=("/health",))[0].scopes
        assert not ask(BASIC, BASIC, open_paths=())[0].scopes


def test_a_connection_without_addresses_is_nobodys() -> None:
    assert not guard.is_trusted({"headers": [HOST], "client": None, "server": None})


def test_the_servers_own_start_and_end_pass() -> None:
    assert ask(kind="lifespan")[0].scopes

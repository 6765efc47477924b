"""The guard in front of the stack's web servers: it refuses foreign web pages, and asks others for the log-in."""

import base64
import hmac
import json
import os
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any, TypeAlias

from infra.browsers import Hosts, Refusal, refusal
from infra.stack.peers import owner

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

# Headers that show that a request comes from a browser, or was forwarded for an unknown client.
_NOT_OURS = (b"origin", b"sec-fetch-", b"cookie", b"referer", b"forwarded", b"x-forwarded-", b"x-real-ip", b"via")


class Guard:
    """An ASGI application around another, for HTTP and WebSockets alike.

    A program of the stack's own user needs no log-in, since that user may read it in its file: the guard adds it to the
    request. A browser is not such a program, even if that user started it.

    Args:
        hosts: which Host headers are accepted.
        login: `USER:PASSWORD`.
        open_paths: paths that need no log-in; None if `app` asks for it itself (HTTP Basic, RFC 7617).
    """

    def __init__(self, app: App, hosts: Hosts, login: str, open_paths: Collection[str] | None) -> None:
        self._app, self._hosts, self._login, self._open_paths = app, hosts, login, open_paths
        self._header = b"Basic " + base64.b64encode(login.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request itself, or let it through."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refused = refusal(scope.get("method", "GET"), scope["headers"], self._hosts)
        if refused is None and is_trusted(scope):
            scope["headers"] = [*scope["headers"], (b"authorization", self._header)]
            receive = _with_token(receive, self._login) if scope["type"] == "websocket" else receive
        if refused is None and not self._may_enter(scope):
            refused = Refusal(401, "Log in: `slipway up` prints the log-in.")
        if refused is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": refused.reason})
        else:
            await _answer(send, refused)

    def _may_enter(self, scope: Scope) -> bool:
        if self._open_paths is None or scope["path"] in self._open_paths:
            return True
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        return len(given) == 1 and hmac.compare_digest(given[0], self._header)


def is_trusted(scope: Scope) -> bool:
    """Whether a request has no log-in, and comes directly from a process of our own user that is not a browser."""
    if any(name == b"authorization" or name.startswith(_NOT_OURS) for name, _ in scope["headers"]):
        return False
    client, server = scope.get("client"), scope.get("server")
    return client is not None and server is not None and owner(tuple(client), tuple(server)) == os.geteuid()


def _with_token(receive: Receive, login: str) -> Receive:
    """`receive` of a WebSocket, with the log-in added to its first message, in which Prefect expects it, if missing."""
    begun = False

    async def received() -> Message:
        nonlocal begun
        message = await receive()
        if not begun and message["type"] == "websocket.receive":
            begun = True
            text = _logged_in(message.get("text") or "", login)
            if text is not None:
                return {**message, "text": text}
        return message

    return received


def _logged_in(text: str, login: str) -> str | None:
    """A message that logs in, with the log-in added; None if it is another message, or has one already."""
    try:
        first = json.loads(text)
    except ValueError:
        return None
    if not isinstance(first, dict) or first.get("type") != "auth" or first.get("token"):
        return None
    return json.dumps({**first, "token": login})


async def _answer(send: Send, refused: Refusal) -> None:
    body = f"{refused.reason}\n".encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(body))]
    if refused.status == 401:
        headers.append((b"www-authenticate", b'Basic realm="Slipway", charset="UTF-8"'))
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

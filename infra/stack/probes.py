"""Signs of life of the stack's servers. Each answers within two seconds and raises nothing."""

import contextlib
import http.client
import json
import socket
import ssl
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import SplitResult, urlsplit

Headers: TypeAlias = Mapping[str, str]

_SECONDS = 2.0


def answers(url: str, any_status: bool = False) -> bool:
    """Whether a GET of `url` is answered with 200, or with any status at all."""
    status = _request("GET", url)[0]
    return status == 200 or (any_status and status != 0)


def open(host: str, port: int) -> bool:  # noqa: A001
    """Whether something listens on `port`."""
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=_SECONDS):
        return True
    return False


def worker_online(api: str, pool: str, name: str, since: float, headers: Headers) -> bool:
    """Whether the worker that started at `since` (seconds since 1970) has lately sent Prefect a heartbeat."""
    found = post_json(f"{api}/work_pools/{pool}/workers/filter", {}, headers)
    return any(
        worker["name"] == name
        and worker["status"] == "ONLINE"
        and datetime.fromisoformat(worker["last_heartbeat_time"]).timestamp() >= since
        for worker in found or []
    )


def post_json(url: str, body: object, headers: Headers) -> Any:
    """The JSON that a POST of `body` is answered with, or None unless the status is 200."""
    status, data = _request("POST", url, json.dumps(body), {"Content-Type": "application/json", **headers})
    return json.loads(data) if status == 200 else None


def get_json(url: str) -> Any:
    """The JSON that a GET is answered with, or None unless the status is 200."""
    status, data = _request("GET", url)
    return json.loads(data) if status == 200 else None


def get_text(url: str, headers: Headers, certificate: Path | None = None) -> str | None:
    """The text that a GET, made with a client certificate, is answered with, or None unless the status is 200."""
    status, data = _request("GET", url, headers=headers, certificate=certificate)
    return data.decode(errors="replace") if status == 200 else None


def _request(
    method: str,
    url: str,
    body: str | None = None,
    headers: Headers | None = None,
    certificate: Path | None = None,
) -> tuple[int, bytes]:
    """Status (0: no answer) and body."""
    parts = urlsplit(url)
    try:
        connection = _connection(parts, certificate)
    except OSError:  # no such certificate
        return 0, b""
    try:
        connection.request(method, parts.path or "/", body, dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


def _connection(parts: SplitResult, certificate: Path | None) -> http.client.HTTPConnection:
    if parts.scheme != "https":
        return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_SECONDS)
    context = ssl.create_default_context(cafile=certificate)
    if certificate is not None:
        context.load_cert_chain(certificate)
    return http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=_SECONDS, context=context)

"""Whom the agent tells how its replica is."""

import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import cast

import pytest
import requests

from infra.agent import health
from infra.agent.agent import Agent, Health


@pytest.fixture
def url() -> Iterator[str]:
    """A server for an agent that has just started."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = health.serve(cast(Agent, SimpleNamespace(health=Health())), "127.0.0.1", port)
    yield f"http://127.0.0.1:{port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(("path", "status"), [("/healthz", 200), ("/readyz", 503), ("/metrics", 200), ("/x", 404)])
def test_programs_are_answered_and_web_pages_are_not(url: str, path: str, status: int) -> None:
    assert requests.get(f"{url}{path}", timeout=10).status_code == status
    for headers in ({"Host": "page.example"}, {"Origin": "http://127.0.0.1:9"}, {"Sec-Fetch-Site": "same-site"}):
        refused = requests.get(f"{url}{path}", headers=headers, timeout=10)
        assert refused.status_code in (403, 421)
        assert not [name for name in refused.headers if name.lower().startswith("access-control")]

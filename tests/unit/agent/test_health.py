"""Whom the agent tells how its replica is."""

import socket
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
import requests

from infra.agent import health
from infra.agent.agent import Agent, Health
from tasks.errors import ServingError, ServingUnreachable
from tasks.records import ReplicaReport
from tasks.serving.identity import require_reporter


@pytest.fixture
def url() -> Iterator[str]:
    """A server for an agent that has just started."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    names = {"fleet": SimpleNamespace(name="default"), "replica": SimpleNamespace(name="r1", place="here:/models")}
    server = health.serve(cast(Agent, SimpleNamespace(health=Health(), **names)), "127.0.0.1", port)
    yield f"http://127.0.0.1:{port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("path", "status"), [("/healthz", 200), ("/readyz", 503), ("/metrics", 200), ("/whoami", 200), ("/x", 404)]
)
def test_programs_are_answered_and_web_pages_are_not(url: str, path: str, status: int) -> None:
    assert requests.get(f"{url}{path}", timeout=10).status_code == status
    for headers in ({"Host": "page.example"}, {"Origin": "http://127.0.0.1:9"}, {"Sec-Fetch-Site": "same-site"}):
        refused = requests.get(f"{url}{path}", headers=headers, timeout=10)
        assert refused.status_code in (403, 421)
        assert not [name for name in refused.headers if name.lower().startswith("access-control")]


def test_a_replica_is_asked_only_where_the_agent_that_reported_answers(url: str) -> None:
    report = ReplicaReport("r1", "http://127.0.0.1:1", "127.0.0.1:1", 0, {}, place="here:/models", agent_url=url)
    require_reporter("default", report, (), 10.0)
    for fleet, other in (
        ("other", report),
        ("default", replace(report, replica="r2")),
        ("default", replace(report, place="elsewhere:/models")),
    ):
        with pytest.raises(ServingError, match=r"another agent answers .*here:/models.* SLIPWAY_ADVERTISE_HOST"):
            require_reporter(fleet, other, (), 10.0)


@pytest.mark.parametrize("address", ["http://127.0.0.1:1", "file://127.0.0.1/etc/passwd"])
def test_a_replica_whose_agent_does_not_answer_is_not_asked(address: str) -> None:
    report = ReplicaReport("r1", "http://127.0.0.1:1", "127.0.0.1:1", 0, {}, place="here:/models", agent_url=address)
    with pytest.raises(ServingUnreachable, match="Replica r1 cannot be asked: no agent answers at"):
        require_reporter("default", report, (), 10.0)


@pytest.mark.parametrize("hosts", [(), ("127.0.0.1",)])
@pytest.mark.parametrize(
    "changes",
    [
        {"rest_url": "http://thief.example:1"},
        {"grpc_address": "thief.example:1"},
        {"agent_url": "http://thief.example:1"},
        {"agent_url": "http://["},
        {"agent_url": "x"},
    ],
)
def test_nothing_is_asked_where_the_reported_addresses_do_not_fit_together(
    hosts: tuple[str, ...], changes: dict[str, Any], url: str
) -> None:
    report = ReplicaReport("r1", "http://127.0.0.1:1", "127.0.0.1:1", 0, {}, agent_url=url)
    with pytest.raises(ServingError, match=r"they are on several machines\. Nothing is asked there"):
        require_reporter("default", replace(report, **changes), hosts, 10.0)


def test_where_hosts_are_named_no_other_is_asked_and_they_need_no_agent(url: str) -> None:
    report = ReplicaReport("r1", "http://127.0.0.1:1", "127.0.0.1:1", 0, {})
    require_reporter("default", report, ("127.0.0.1",), 10.0)
    with pytest.raises(ServingError, match="SLIPWAY_REPLICA_HOSTS names no such host"):
        require_reporter("default", report, ("serving-1",), 10.0)
    with pytest.raises(ServingUnreachable, match="it reported no address of an agent"):
        require_reporter("default", report, (), 10.0)
    with pytest.raises(ServingError, match="another agent answers"):
        require_reporter("default", replace(report, agent_url=url), ("127.0.0.1",), 10.0)

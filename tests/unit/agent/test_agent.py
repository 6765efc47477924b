"""What the agent reports about a model server that ends while it is brought to a config."""

from pathlib import Path
from typing import cast

import pytest

from infra.agent.agent import Agent
from tasks.errors import ServingUnreachable
from tasks.fleet.config import Fleet, FleetConfig
from tasks.fleet.converge import Replica, States
from tasks.records import VersionState
from tasks.settings import Settings
from tasks.versions.signing import Trust
from tasks.wire.protos import ModelServerConfig
from tests.helpers.stores import MemoryStore


class FakeFleet:
    """Has the config that `number` says, and keeps what is reported."""

    def __init__(self) -> None:
        self.number = 0
        self.reports: list[str] = []

    def newer(self, number: int) -> FleetConfig | None:
        return FleetConfig(self.number, ModelServerConfig()) if self.number != number else None

    def newest(self) -> FleetConfig:
        return FleetConfig(self.number, ModelServerConfig())

    def seen_by(self, replica: str, config: FleetConfig) -> FleetConfig:
        return config

    def put_report(self, report: str) -> None:
        self.reports.append(report)


class FakeServer:
    def statuses(self, model: str) -> tuple[VersionState, ...]:
        return ()


class CrashingReplica:
    """Its model server ends at every config that it is brought to."""

    name = "r1"
    store, trust, server = MemoryStore(), cast(Trust, None), FakeServer()
    config_file = Path("nothing/models.config")

    def believed(self, config: FleetConfig) -> tuple[FleetConfig, list[str]]:
        return config, []

    def converge(self, config: FleetConfig, deadline: float) -> States:
        raise ServingUnreachable("gone")

    def report(self, config: int, models: States, error: str, *_: object) -> str:
        return error


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    return Agent(Settings(home=tmp_path), cast(Replica, CrashingReplica()))


def reported(agent: Agent, *configs: int) -> list[str]:
    """What is reported while the fleet's newest config is each of these in turn, for one look."""
    fleet = FakeFleet()
    agent.fleet = cast(Fleet, fleet)
    for fleet.number in configs:
        agent.step()
    return fleet.reports


def test_a_server_that_ends_twice_on_its_way_to_a_config_is_an_error_of_that_config(agent: Agent) -> None:
    (error,) = reported(agent, 5, 5)
    assert error.startswith("The model server ended 2 times on its way to config 5; if memory ran out, serve fewer")


def test_a_server_that_ends_once_on_its_way_may_have_ended_of_something_else(agent: Agent) -> None:
    assert reported(agent, 5, 6, 5) == []

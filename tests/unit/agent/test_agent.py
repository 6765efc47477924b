"""What the agent reports about a model server that ends while it is brought to a config."""

import contextlib
import dataclasses
import errno
from pathlib import Path
from typing import cast

import pytest

from infra.agent.__main__ import named
from infra.agent.agent import Agent
from tasks.errors import InvalidSettings, ServingUnreachable
from tasks.fleet.config import Fleet, FleetConfig
from tasks.fleet.converge import Replica, States
from tasks.records import VersionState
from tasks.serving.client import ServingClient
from tasks.settings import Settings
from tasks.store import keys
from tasks.versions.signing import Trust
from tasks.wire.protos import ModelServerConfig
from tests.helpers.stores import MemoryStore
from tests.helpers.versions import UNSIGNED


class FakeFleet:
    """Has the config that `number` says, and keeps what is reported."""

    name, store = "default", MemoryStore()

    def __init__(self) -> None:
        self.number = 0
        self.reports: list[str] = []

    def newer(self, known: FleetConfig) -> FleetConfig | None:
        return FleetConfig(self.number, ModelServerConfig()) if self.number != known.number else None

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


class FullReplica(CrashingReplica):
    """Its disk is full until `room` is set."""

    room = False

    def __init__(self, folder: Path) -> None:
        self.models_dir, self.config_file = folder / "models", folder / "models.config"

    def converge(self, config: FleetConfig, deadline: float) -> States:
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device", str(self.config_file))
        return {}

    def reached(self, config: FleetConfig) -> bool:
        return True


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


def test_a_full_disk_is_reported_and_ends_nothing(tmp_path: Path) -> None:
    replica = FullReplica(tmp_path)
    agent = Agent(Settings(home=tmp_path), cast(Replica, replica))
    (error,) = reported(agent, 5)
    assert "No space left on device" in error
    assert "tries again by itself" in error
    replica.room = True
    assert (reported(agent, 5), agent.health.config, agent.health.error) == ([None], 5, None)


@pytest.mark.parametrize(
    ("place", "age", "refused"), [("elsewhere:/models", 0, True), ("elsewhere:/models", 1000, False), (None, 0, False)]
)
def test_an_agent_does_not_take_the_name_of_a_replica_elsewhere(
    tmp_path: Path, place: str | None, age: float, refused: bool
) -> None:
    store, server = MemoryStore(), ServingClient("127.0.0.1:1", "http://127.0.0.1:1")
    mine = Settings(home=tmp_path)
    replica = Replica(store, UNSIGNED, "r1", server, mine.replica_models, mine.replica_config)
    other = dataclasses.replace(replica.report(0, {}), place=place)
    Fleet(store, UNSIGNED, mine.fleet, 1.0).put_report(other)
    store.backdate(keys.replica_key(mine.fleet, "r1"), age)
    with pytest.raises(InvalidSettings, match="SLIPWAY_REPLICA") if refused else contextlib.nullcontext():
        Agent(mine, replica).require_own_name()


def test_an_agent_that_starts_again_takes_its_own_name_at_once(tmp_path: Path) -> None:
    server = ServingClient("127.0.0.1:1", "http://127.0.0.1:1")
    mine = Settings(home=tmp_path)
    replica = Replica(MemoryStore(), UNSIGNED, "r1", server, mine.replica_models, mine.replica_config)
    agent = Agent(mine, replica)
    agent.fleet.put_report(replica.report(0, {}))
    agent.require_own_name()


def test_an_agent_of_no_stack_has_its_machines_name_unless_it_is_told_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "gpu node_1.lan")
    mine = Settings.model_construct()
    assert named(mine, {}).replica == "gpu-node_1.lan"
    assert named(mine, {"SLIPWAY_SUPERVISED": str(tmp_path)}).replica == "r1"
    assert named(Settings(replica="r2"), {}).replica == "r2"


@pytest.mark.parametrize(
    ("host", "advertised", "expected"),
    [("127.0.0.1", None, "127.0.0.1"), ("0.0.0.0", None, "here"), ("127.0.0.1", "a.lan", "a.lan")],
)
def test_a_replica_reports_where_other_machines_reach_it(
    monkeypatch: pytest.MonkeyPatch, host: str, advertised: str | None, expected: str
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "here")
    assert Settings(host=host, advertise_host=advertised, grpc_port=7).advertised.grpc_address == f"{expected}:7"

"""A store that lost what a fleet's replicas serve."""

from pathlib import Path
from typing import Any, cast

import pytest

from infra.agent.agent import Agent
from tasks.errors import InvalidInput, StoreWentBack
from tasks.fleet import lost, replicas
from tasks.fleet.config import Fleet, FleetConfig, serving_entry
from tasks.fleet.converge import Replica, States
from tasks.fleet.lost import Kept
from tasks.records import ReplicaReport, VersionState
from tasks.settings import Settings
from tasks.store import keys
from tasks.store.base import Store
from tasks.wire.protos import ModelServerConfig
from tests.helpers.versions import UNSIGNED


class ObedientServer:
    """A replica that serves each config at once."""

    name, trust = "r1", UNSIGNED

    def __init__(self, store: Store, folder: Path) -> None:
        self.store, self.models_dir, self.config_file = store, folder / "models", folder / "models.config"
        self.server = self
        self.served: list[int] = []

    def statuses(self, _: str) -> tuple[VersionState, ...]:
        return ()

    def believed(self, config: FleetConfig) -> tuple[FleetConfig, list[str]]:
        return config, []

    def converge(self, config: FleetConfig, _: float) -> States:
        self.served.append(config.number)
        return {}

    def reached(self, config: FleetConfig) -> bool:
        return True

    def states(self, _: ModelServerConfig) -> States:
        return {"MLP": (VersionState(7, "AVAILABLE"),)}

    def report(self, *values: Any) -> ReplicaReport:
        fields = ("config", "models", "error", "error_config", "error_model", "kept")
        return ReplicaReport("r1", "http://r1", "r1:8500", **dict(zip(fields, values, strict=False)))


@pytest.fixture
def fleet(store: Store) -> Fleet:
    """A fleet whose newest config is number 3."""
    found = Fleet(store, UNSIGNED, "default", 1.0)
    for version in (5, 6, 7):
        found.change({"MLP": serving_entry("MLP", found.base_path("MLP"), [version], {"stable": version})}, "test")
    return found


@pytest.fixture
def server(store: Store, tmp_path: Path) -> ObedientServer:
    return ObedientServer(store, tmp_path)


def agent_of(server: ObedientServer) -> Agent:
    return Agent(Settings(home=server.models_dir.parent), cast(Replica, server))


@pytest.mark.parametrize("since", ["nothing", "another config of that number", "older configs"])
def test_an_agent_that_starts_again_goes_on_with_what_the_store_has_lost(
    fleet: Fleet, server: ObedientServer, since: str
) -> None:
    agent_of(server).step()
    fleet.store.delete_all("fleets/" if since != "older configs" else keys.config_key("default", 3))
    if since == "older configs":
        fleet.store.delete(keys.config_key("default", 3))
    if since == "another config of that number":
        for _ in range(3):
            fleet.change({}, "begun anew", always=True)
    agent = agent_of(server)
    agent.step()
    assert server.served == [3], "it serves on"
    (report,) = replicas.reports(fleet)
    assert (report.config, report.models) == (3, {"MLP": (VersionState(7, "AVAILABLE"),)})
    assert "The store went back in time" in (report.error or "")
    assert agent.health.ready
    restored = lost.restore(fleet, replicas.reports(fleet))
    assert (restored.number, restored.versions("MLP")) == (4, [7])
    agent.step()
    assert (server.served, agent.health.error) == ([3, 4], None)


def test_an_agent_that_runs_finds_out_too(
    fleet: Fleet, server: ObedientServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = agent_of(server)
    agent.step()
    fleet.store.delete_all("fleets/")
    monkeypatch.setattr("infra.agent.agent.HEARTBEAT", -1.0)
    for _ in range(3):
        agent.step()
    assert server.served == [3]
    (report,) = replicas.reports(fleet)
    assert report.kept is not None


def test_a_rollout_is_refused_before_it_writes_what_would_unload_the_rest(fleet: Fleet, server: ObedientServer) -> None:
    agent_of(server).step()
    fleet.store.delete_all(keys.configs_prefix("default"))
    with pytest.raises(StoreWentBack, match=r"lost config 3 of fleet 'default'.*`slipway fleet restore default`"):
        replicas.require_replicas(fleet)
    with pytest.raises(StoreWentBack):
        replicas.await_config(fleet, FleetConfig(1, ModelServerConfig()), "MLP")


def test_what_was_kept_of_another_store_or_fleet_does_not_count(fleet: Fleet, store: Store, tmp_path: Path) -> None:
    path = tmp_path / "reached.json"
    kept = Kept.write(path, fleet, fleet.newest())
    assert Kept.read(path, fleet) == kept
    assert Kept.read(path, Fleet(store, UNSIGNED, "other", 1.0)).number == 0
    path.write_bytes(b"{")
    assert Kept.read(path, fleet).number == 0


def test_nothing_is_restored_where_nothing_was_lost(fleet: Fleet, server: ObedientServer) -> None:
    agent_of(server).step()
    with pytest.raises(InvalidInput, match="there is nothing to restore"):
        lost.restore(fleet, replicas.reports(fleet))
    assert fleet.newest().number == 3

"""A fleet without agents: two model servers that share a folder, converged by the flows themselves."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL

from flows.reconcile import reconcile
from flows.rollback import rollback
from flows.rollout import rollout
from infra.stack.programs import settings_environment
from tasks.delivery import strategies
from tasks.delivery.preview import preview_rollout
from tasks.errors import RolloutFailed, SlipwayError
from tasks.fleet import replicas
from tasks.fleet.agentless import CONFIGS
from tasks.fleet.config import Fleet, live_version, serving_entry
from tasks.names import candidate_name
from tasks.settings import Settings, settings
from tasks.store import keys
from tasks.versions import catalog
from tests.helpers.clients import Client
from tests.helpers.forkserver import context
from tests.helpers.models import publish_affine
from tests.helpers.policies import POLICY
from tests.helpers.releases import Release, Write, quick_flows
from tests.helpers.replica import LocalReplica

FIRST_OF_THE_ROLLOUT = 10  # write to the store of a release: before it the version is published


pytestmark = [pytest.mark.usefixtures("prefect"), pytest.mark.timeout(600)]


@pytest.fixture
def servers(tmp_path: Path, store_settings: Settings, small_models: Path) -> Iterator[list[LocalReplica]]:
    """Two model servers that read one folder, each with a config file of its own there."""
    shared = tmp_path / "models"
    found = []
    for name in ("a", "b"):
        server = LocalReplica(
            tmp_path,
            store_settings,
            name,
            fleet="test",
            models_dir=shared,
            other_models=str(small_models),
            with_agent=False,
        )
        server.config_file = shared / CONFIGS / f"127.0.0.1-{server.settings.grpc_port}.config"
        server.start()
        found.append(server)
    yield found
    for server in found:
        server.end()


@pytest.fixture
def agentless_fleet(
    servers: list[LocalReplica], store_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Fleet]:
    """The fleet of the two, for this test and for the flows that it runs."""
    addresses = (f"127.0.0.1:{s.settings.grpc_port}:{s.settings.rest_port}" for s in servers)
    mine = store_settings.model_copy(
        update={
            "fleet": "test",
            "load_deadline": 30.0,
            "replica_addresses": ",".join(addresses),
            "models_dir": servers[0].settings.models_dir,
        }
    )
    for name, value in settings_environment(mine).items():
        monkeypatch.setenv(name, value)
    settings.cache_clear()
    yield Fleet.connect(mine)
    settings.cache_clear()


def local_versions(servers: list[LocalReplica]) -> list[str]:
    return sorted(p.name for p in (servers[0].settings.replica_models / "affine").iterdir())


def test_versions_move_on_every_server_by_both_strategies_without_a_failed_request(
    agentless_fleet: Fleet, servers: list[LocalReplica], small_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2, 3):
        publish_affine(agentless_fleet, small_models, number)
    wrong = publish_affine(agentless_fleet, small_models, 1, golden=2)
    rollout("affine", 1, agentless_fleet.name)
    plan = preview_rollout(agentless_fleet, "affine", 2, "blue-green", POLICY)
    assert [(r.replica, r.config) for r in plan.replicas] == [
        (r.replica, 2) for r in replicas.reporting(agentless_fleet)
    ]
    with Client(servers[0]).hammering() as first, Client(servers[1]).hammering() as second:
        report = rollout("affine", 2, agentless_fleet.name)
        with pytest.raises(RolloutFailed, match="Version 2 serves as before"):
            rollout("affine", wrong, agentless_fleet.name)
    assert {f.replica for f in report.findings} == {r.replica for r in replicas.reports(agentless_fleet)}
    assert (first.failures, second.failures) == ([], [])
    assert (first.variants, second.variants) == ({1, 2}, {1, 2})
    assert local_versions(servers) == ["2"]

    monkeypatch.setenv("SLIPWAY_SOAK", "1")
    settings.cache_clear()
    rollout("affine", 2, agentless_fleet.name, "labels")
    with Client(*servers, labels=["stable"]).hammering() as labelled:
        rollout("affine", 3, agentless_fleet.name, "labels")
        before = agentless_fleet.newest().entry("affine")
        assert rollback("affine", fleet=agentless_fleet.name).version == 2
        gone_back = len(labelled.answers) + 1  # one question may have been under way
        labelled.await_answers()
    assert before == serving_entry("affine", agentless_fleet.base_path("affine"), [2, 3], {"stable": 3})
    assert agentless_fleet.newest().entry("affine") == serving_entry(
        "affine", agentless_fleet.base_path("affine"), [2], {"stable": 2}
    )
    assert (labelled.failures, labelled.variants) == ([], {2, 3})
    assert {variant for _, variant in labelled.answers[gone_back:]} == {2}


def roll_out(model: str, environment: dict[str, str], prefect_api: str) -> None:
    """In a process of its own, as another person would at the same time."""
    os.environ.update(environment)
    settings.cache_clear()
    with quick_flows(prefect_api):
        rollout(model, 1, "test")


def test_two_models_rolled_out_at_once_both_land_and_others_entries_stay(
    agentless_fleet: Fleet, servers: list[LocalReplica], small_models: Path
) -> None:
    theirs = serving_entry("theirs", str(small_models / "mlp"), [1], {"gold": 1})
    agentless_fleet.change({"theirs": theirs}, "written by another team")
    environment = {k: v for k, v in os.environ.items() if k.startswith("SLIPWAY_")}
    models = ("one", "two")
    for model in models:
        publish_affine(agentless_fleet, small_models, 1, model=model)
    runs = [
        context().Process(target=roll_out, args=(model, environment, str(PREFECT_API_URL.value()))) for model in models
    ]
    for run in runs:
        run.start()
    for run in runs:
        run.join(240)
    assert [run.exitcode for run in runs] == [0, 0]
    assert {c.name for c in agentless_fleet.newest().models.model_config_list.config} == {"theirs", *models}
    assert agentless_fleet.newest().entry("theirs") == theirs
    for server in servers:
        with server.client() as client:
            for name in ("theirs", *models):
                assert [s.state for s in client.statuses(name)] == ["AVAILABLE"], name


@pytest.mark.soak
def test_a_release_that_dies_on_its_way_is_finished_or_undone_on_every_server(
    agentless_fleet: Fleet, servers: list[LocalReplica], small_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLIPWAY_SOAK", "0.5")
    settings.cache_clear()
    environment = {k: v for k, v in os.environ.items() if k.startswith("SLIPWAY_")}
    rollout("affine", publish_affine(agentless_fleet, small_models, 1), agentless_fleet.name, "labels")
    ended: str | None = "killed"
    died, accepted = 0, {1}
    by_turns = itertools.cycle(strategies.known())
    with Client(*servers, labels=["stable"]).hammering() as client:
        for writes in itertools.count(FIRST_OF_THE_ROLLOUT, 3):
            model = small_models / "affine" / str(1 + writes % 3)
            api, strategy = str(PREFECT_API_URL.value()), next(by_turns)
            ended = Release(
                model, agentless_fleet.name, environment, api, strategy=strategy, dies_after=Write(nth=writes)
            ).end()
            reconcile(agentless_fleet.name)
            assert agentless_fleet.store.keys(keys.rollouts_prefix(agentless_fleet.name)) == []
            served = agentless_fleet.newest().versions("affine")
            assert {catalog.version(agentless_fleet.store, "affine", v).state for v in served} == {"accepted"}
            assert max(served) == live_version(agentless_fleet.newest(), "affine")
            accepted |= set(served)
            for server in servers:
                with server.client() as asked:
                    names = ("affine", candidate_name("affine"))
                    states = [s for name in names for s in asked.statuses(name)]
                    assert sorted(s.version for s in states if s.state == "AVAILABLE") == served
            if ended is None:
                break
            assert ended == "killed"
            died += 1
    assert died > 2
    assert client.failures == []
    assert set(client.versions) <= accepted


def test_a_server_that_is_gone_is_named_and_comes_back_to_the_newest_config(
    agentless_fleet: Fleet, servers: list[LocalReplica], small_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2):
        publish_affine(agentless_fleet, small_models, number)
    rollout("affine", 1, agentless_fleet.name)
    servers[1].kill("model-server")
    monkeypatch.setenv("SLIPWAY_LOAD_DEADLINE", "5")
    settings.cache_clear()
    gone = f"127.0.0.1-{servers[1].settings.grpc_port}"
    with pytest.raises(RolloutFailed, match=rf"{gone} is at config 2 \(No model server answers"):
        rollout("affine", 2, agentless_fleet.name)
    monkeypatch.setenv("SLIPWAY_QUORUM", "0.5")
    settings.cache_clear()
    report = rollout("affine", 2, agentless_fleet.name)
    assert {f.replica for f in report.findings} == {f"127.0.0.1-{servers[0].settings.grpc_port}"}
    assert any(gone in sentence for sentence in reconcile(agentless_fleet.name))

    servers[1].start()
    assert reconcile(agentless_fleet.name) == []
    for server in servers:
        with server.client() as client:
            assert [v.version for v in client.statuses("affine") if v.state == "AVAILABLE"] == [2]


def test_a_folder_that_cannot_be_used_is_named(
    agentless_fleet: Fleet, small_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_affine(agentless_fleet, small_models, 1)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SLIPWAY_MODELS_DIR", str(tmp_path / "file"))
    settings.cache_clear()
    with pytest.raises(SlipwayError, match="which SLIPWAY_MODELS_DIR names, cannot be used"):
        rollout("affine", 1, agentless_fleet.name)

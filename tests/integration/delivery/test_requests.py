"""What an idle agent, a rollout, a rollback and a reconcile ask of the store does not grow with other models.

A proxy before a real SeaweedFS counts; `make soak ARGS=tests/integration/delivery/test_requests.py` prints the table.
"""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flows.reconcile import reconcile
from flows.rollback import rollback
from flows.rollout import rollout
from infra.stack.programs import settings_environment
from tasks.fleet import replicas
from tasks.fleet.config import Fleet, serving_entry
from tasks.settings import Settings, settings
from tests.helpers.faulty_proxy import FaultyProxy
from tests.helpers.models import publish_affine
from tests.helpers.replica import LocalReplica

pytestmark = [pytest.mark.soak, pytest.mark.alone, pytest.mark.timeout(900)]

IDLE = 60.0  # seconds
MODELS = (1, 10, 100)


@pytest.fixture
def proxies(store_settings: Settings) -> Iterator[tuple[FaultyProxy, FaultyProxy]]:
    """One for the agent, and one for flows; neither has faults."""
    made = FaultyProxy(store_settings.store_port, seed=1), FaultyProxy(store_settings.store_port, seed=1)
    yield made
    for proxy in made:
        proxy.close()


@pytest.fixture
def fleet(
    prefect: None,
    proxies: tuple[FaultyProxy, FaultyProxy],
    store_settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Fleet]:
    """A fleet with one replica, whose agent and flows ask the store through a proxy each."""
    of_agent, of_flows = (store_settings.model_copy(update={"store_port": proxy.port}) for proxy in proxies)
    replica = LocalReplica(tmp_path, of_agent, fleet="test", poll_interval=Settings().poll_interval)
    for name, value in settings_environment(of_flows.model_copy(update={"fleet": "test"})).items():
        monkeypatch.setenv(name, value)
    settings.cache_clear()
    replica.start()
    replica.await_report()
    yield Fleet.connect(store_settings, "test")
    replica.end()
    settings.cache_clear()


def test_only_a_reconcile_asks_more_where_there_are_more_models(
    fleet: Fleet, proxies: tuple[FaultyProxy, FaultyProxy], small_models: Path
) -> None:
    of_agent, of_flows = proxies

    def asked(what: Callable[[], object]) -> tuple[int, float]:
        of_flows.seen.clear()
        began = time.monotonic()
        what()
        return sum(of_flows.seen.values()), time.monotonic() - began

    found: dict[int, dict[str, tuple[int, float]]] = {}
    served = 0
    for count in MODELS:
        names = [f"model-{number}" for number in range(served, count)]
        versions = {name: [publish_affine(fleet, small_models, v, model=name) for v in (1, 2)] for name in names}
        entries = {name: serving_entry(name, fleet.base_path(name), both[:1], {}) for name, both in versions.items()}
        replicas.await_config(fleet, fleet.change(entries, "test"), "")
        served = count
        rollout(names[0], 1, "test", force="it serves already")
        of_agent.seen.clear()
        time.sleep(IDLE)
        idle = sum(of_agent.seen.values())
        found[count] = {
            "idle agent, a minute": (idle, IDLE),
            "rollout": asked(lambda name=names[0]: rollout(name, 2, "test")),  # type: ignore[misc]
            "rollback": asked(lambda name=names[0]: rollback(name, fleet="test")),  # type: ignore[misc]
            "reconcile": asked(lambda: reconcile("test")),
        }
    rows = [("models", [f"{count}" for count in MODELS])]
    rows += [(what, [f"{found[n][what][0]} in {found[n][what][1]:.1f} s" for n in MODELS]) for what in found[1]]
    sys.stdout.write("\n" + "".join(f"{what:>22}{''.join(f'{cell:>16}' for cell in cells)}\n" for what, cells in rows))
    for what in ("idle agent, a minute", "rollout", "rollback"):
        few, many = found[MODELS[0]][what][0], found[MODELS[-1]][what][0]
        assert many <= few * 1.2 + 5, f"{what}: {few} requests with one model, {many} with a hundred"
    assert found[MODELS[-1]]["idle agent, a minute"][0] <= IDLE * 1.1 + 5

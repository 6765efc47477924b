"""A release is killed between any two of its writes, under three replicas and a client that never stops asking."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL

from flows.reconcile import reconcile
from flows.rollout import rollout
from tasks import fetch, layout, versions
from tasks.fleet import Fleet
from tasks.serving import ModelServer
from tasks.settings import Settings
from tests.integration.clients import Client
from tests.integration.models import publish_affine
from tests.integration.replica import LocalReplica

pytestmark = [pytest.mark.usefixtures("flows"), pytest.mark.timeout(1800)]

# Processes that are forked from one which has imported everything: a release begins at once, and can be killed.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["flows.release", "tests.integration.test_killed"])


@pytest.fixture
def replicas_of_three(tmp_path: Path, store_settings: Settings) -> Iterator[list[LocalReplica]]:
    found = [LocalReplica(tmp_path, store_settings, f"r{n}", fleet="test") for n in (1, 2, 3)]
    starting = [threading.Thread(target=r.start) for r in found]
    for thread in starting:
        thread.start()
    for thread in starting:
        thread.join()
    yield found
    for replica in found:
        replica.end()


def release_and_die(saved_model: str, fleet: str, environment: dict[str, str], prefect_api: str, writes: int) -> None:
    """Release, and end as a power cut would after the given number of writes to the store."""
    os.environ.update(environment)
    import botocore.httpsession

    left, send = [writes], botocore.httpsession.URLLib3Session.send

    def counting(session: object, request: object) -> object:
        answer = send(session, request)
        if request.method != "GET":  # type: ignore[attr-defined]
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return answer

    botocore.httpsession.URLLib3Session.send = counting
    from prefect.settings import temporary_settings

    from flows.release import release_saved_model

    with temporary_settings({PREFECT_API_URL: prefect_api}):
        release_saved_model("affine", saved_model, fleet=fleet)


def test_whenever_a_release_dies_the_fleet_serves_an_accepted_version_and_nothing_half_done_is_seen(
    fleet: Fleet, replicas_of_three: list[LocalReplica], small_models: Path
) -> None:
    environment = {k: v for k, v in os.environ.items() if k.startswith("SLIPWAY_")}
    api = str(PREFECT_API_URL.value())
    rollout("affine", publish_affine(fleet.store, small_models, 1), fleet.name)
    died, writes = 0, 0
    with Client(replicas_of_three[0]).hammering() as client:
        while True:
            writes += 1
            model = small_models / "affine" / str(1 + writes % 3)
            process = PROCESSES.Process(target=release_and_die, args=(str(model), fleet.name, environment, api, writes))
            process.start()
            process.join(120)
            assert process.exitcode is not None, f"a release that was to die after {writes} writes goes on and on"
            reconcile(fleet.name)
            require_whole(fleet, replicas_of_three)
            if process.exitcode != -signal.SIGKILL:
                break
            died += 1
    assert process.exitcode == 0
    assert died > 10
    assert client.failures == []
    accepted = {v for v in versions.published(fleet.store, "affine") if state(fleet, v) == "accepted"}
    assert set(client.versions) <= accepted


def state(fleet: Fleet, version: int) -> str:
    return versions.version(fleet.store, "affine", version).state


def require_whole(fleet: Fleet, replicas: list[LocalReplica]) -> None:
    """The fleet serves one accepted version everywhere, the store shows no half version, no rollout is left."""
    assert fleet.store.keys(layout.rollouts_prefix(fleet.name)) == []
    served = fleet.newest().versions("affine")
    assert [c.name for c in fleet.newest().models.model_config_list.config] == ["affine"]
    assert [state(fleet, v) for v in served] == ["accepted"]
    for replica in replicas:
        with replica.client() as client:
            assert loaded(client) == served
    published = versions.published(fleet.store, "affine")
    for version in published:
        fetch.require_whole(fleet.store, versions.manifest(fleet.store, "affine", version))
    assert set(published) <= set(versions.claimed(fleet.store, "affine"))


def loaded(client: ModelServer) -> list[int]:
    return [
        s.version for name in ("affine", "affine-candidate") for s in client.statuses(name) if s.state == "AVAILABLE"
    ]

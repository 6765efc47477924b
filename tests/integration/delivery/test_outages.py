"""A release goes on while one part of the world breaks in its middle, under a client that never stops asking."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from flows.reconcile import reconcile
from tasks.names import candidate_name
from tasks.versions import catalog
from tests.helpers.clients import Client
from tests.helpers.local import LocalPrefect, LocalStore, until
from tests.helpers.three_replicas import ThreeReplicas

pytestmark = pytest.mark.timeout(900)

AWAY = 20.0  # seconds that the store is gone
PATIENCE = 300.0  # seconds for a command whose Prefect server is gone, on the slowest machine


@pytest.fixture
def own_prefect(trio: ThreeReplicas, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPrefect]:
    """A Prefect server that a test may stop."""
    found = LocalPrefect(tmp_path_factory.mktemp("prefect"), trio.settings)
    found.start()
    yield found
    found.kill()


def test_a_release_ends_right_though_an_agent_dies_and_comes_back(trio: ThreeReplicas) -> None:
    with Client(*trio.replicas).hammering() as client:
        release = trio.release(1)
        await_trial(trio)
        trio.replicas[0].kill("agent")
        trio.replicas[0].start()
        assert release.end() is None
        trio.await_whole()
    trio.require_served(client)


def test_clients_of_other_replicas_notice_nothing_of_a_model_server_that_dies(trio: ThreeReplicas) -> None:
    with Client(trio.replicas[0], trio.replicas[2]).hammering() as client:
        release = trio.release(2)
        await_trial(trio)
        trio.replicas[1].kill("model-server")
        trio.replicas[1].start()
        require_clean(release.end())
        mend(trio)
    trio.require_served(client)


def test_serving_goes_on_while_the_store_is_away_in_the_middle_of_a_release(
    trio: ThreeReplicas, weed: LocalStore
) -> None:
    with Client(*trio.replicas).hammering() as client:
        release = trio.release(3)
        await_trial(trio)
        weed.stop()
        back = time.monotonic() + AWAY
        until(lambda: time.monotonic() > back, "the store is away for long enough")
        weed.start()
        require_clean(release.end())
        mend(trio)
    trio.require_served(client)


def test_a_release_whose_prefect_server_goes_away_says_so_and_has_done_its_work(
    trio: ThreeReplicas, own_prefect: LocalPrefect
) -> None:
    releasing = command(trio, 4, own_prefect, SLIPWAY_PREFECT_DEADLINE="6")
    with Client(*trio.replicas).hammering() as client, releasing as release:
        await_trial(trio)
        own_prefect.kill()
        _, said = release.communicate(timeout=PATIENCE)
        mend(trio)
    assert release.returncode == 1
    require_told(said)
    assert trio.fleet.newest().versions("affine") == catalog.published(trio.fleet.store, "affine")[-1:]
    trio.require_served(client)


def test_a_prefect_server_that_comes_back_finds_the_release_going_on(
    trio: ThreeReplicas, own_prefect: LocalPrefect
) -> None:
    with Client(*trio.replicas).hammering() as client, command(trio, 5, own_prefect) as release:
        await_trial(trio)
        own_prefect.kill()
        own_prefect.start()
        printed, said = release.communicate(timeout=PATIENCE)
        mend(trio)
    if release.returncode == 0:
        assert "is accepted and serves" in printed
    else:
        require_told(said)  # it took longer to come back than Prefect's client waits
    trio.require_served(client)


def await_trial(trio: ThreeReplicas) -> None:
    """Wait until a release has put its version on trial: its rollout is in the middle."""
    until(lambda: trio.fleet.newest().entry(candidate_name("affine")), "a version is on trial", 180)


def require_clean(ended: str | None) -> None:
    """It ended right, or says in one line what went wrong with which version."""
    assert ended is None or (ended.startswith("affine version ") and "\n" not in ended), ended


def require_told(said: str) -> None:
    """The last line of what a command wrote to stderr, and no other, tells that the Prefect server is away."""
    assert "Traceback" not in said
    assert [line for line in said.splitlines() if line.startswith("slipway: ")] == said.splitlines()[-1:], said
    assert "does not answer any more" in said.splitlines()[-1]


def mend(trio: ThreeReplicas) -> None:
    """What an operator does, or the schedule, once all parts of the world are there again."""
    reconcile(trio.fleet.name)
    trio.await_whole()


@contextmanager
def command(
    trio: ThreeReplicas, number: int, prefect: LocalPrefect, **environment: str
) -> Iterator["subprocess.Popen[str]"]:
    """`slipway release`, under way."""
    process = subprocess.Popen(
        [sys.executable, "-m", "infra.cli.main", "release", "affine", "--saved-model", str(trio.model(number))],
        env=os.environ | prefect.environment | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()

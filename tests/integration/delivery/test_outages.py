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

PATIENCE = 300.0  # seconds for a command whose Prefect server is gone, on the slowest machine


@pytest.fixture
def own_prefect(three_replicas: ThreeReplicas, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPrefect]:
    """A Prefect server that a test may stop."""
    found = LocalPrefect(tmp_path_factory.mktemp("prefect"), three_replicas.settings)
    found.start()
    yield found
    found.kill()


@pytest.mark.soak
def test_a_release_ends_right_though_an_agent_dies_and_comes_back(three_replicas: ThreeReplicas) -> None:
    with Client(*three_replicas.replicas).hammering() as client:
        release = three_replicas.release(1)
        await_trial(three_replicas)
        three_replicas.replicas[0].kill("agent")
        three_replicas.replicas[0].start()
        assert release.end() is None
        three_replicas.await_whole()
    three_replicas.require_served(client)


@pytest.mark.soak
def test_clients_of_other_replicas_notice_nothing_of_a_model_server_that_dies(three_replicas: ThreeReplicas) -> None:
    with Client(three_replicas.replicas[0], three_replicas.replicas[2]).hammering() as client:
        release = three_replicas.release(2)
        await_trial(three_replicas)
        three_replicas.replicas[1].kill("model-server")
        three_replicas.replicas[1].start()
        require_clean(release.end())
        reconcile_and_check(three_replicas)
    three_replicas.require_served(client)


@pytest.mark.parametrize("seconds", [6.0, pytest.param(20.0, marks=pytest.mark.soak)])
def test_serving_goes_on_while_the_store_is_away_in_the_middle_of_a_release(
    three_replicas: ThreeReplicas, seaweedfs: LocalStore, seconds: float
) -> None:
    with Client(*three_replicas.replicas).hammering() as client:
        release = three_replicas.release(3)
        await_trial(three_replicas)
        seaweedfs.stop()
        back = time.monotonic() + seconds
        until(lambda: time.monotonic() > back, "the store is away for long enough")
        seaweedfs.start()
        assert release.end() is None
        reconcile_and_check(three_replicas)
    three_replicas.require_served(client)


@pytest.mark.soak
def test_a_release_whose_prefect_server_goes_away_says_so_and_has_done_its_work(
    three_replicas: ThreeReplicas, own_prefect: LocalPrefect
) -> None:
    releasing = command(three_replicas, 4, own_prefect, SLIPWAY_PREFECT_DEADLINE="6")
    with Client(*three_replicas.replicas).hammering() as client, releasing as release:
        await_trial(three_replicas)
        own_prefect.kill()
        _, said = release.communicate(timeout=PATIENCE)
        reconcile_and_check(three_replicas)
    assert release.returncode == 1
    require_told(said)
    assert (
        three_replicas.fleet.newest().versions("affine") == catalog.published(three_replicas.fleet.store, "affine")[-1:]
    )
    three_replicas.require_served(client)


@pytest.mark.soak
def test_a_prefect_server_that_comes_back_finds_the_release_going_on(
    three_replicas: ThreeReplicas, own_prefect: LocalPrefect
) -> None:
    with Client(*three_replicas.replicas).hammering() as client, command(three_replicas, 5, own_prefect) as release:
        await_trial(three_replicas)
        own_prefect.kill()
        own_prefect.start()
        printed, said = release.communicate(timeout=PATIENCE)
        reconcile_and_check(three_replicas)
    if release.returncode == 0:
        assert "is accepted and serves" in printed
    else:
        require_told(said)  # it took longer to come back than Prefect's client waits
    three_replicas.require_served(client)


def await_trial(three_replicas: ThreeReplicas) -> None:
    """Wait until a release has put its version on trial: its rollout is in the middle."""
    until(lambda: three_replicas.fleet.newest().entry(candidate_name("affine")), "a version is on trial", 180)


def require_clean(ended: str | None) -> None:
    """It ended right, or says in one line what went wrong with which version."""
    assert ended is None or (ended.startswith("The rollout of affine version ") and "\n" not in ended), ended


def require_told(said: str) -> None:
    """The last line of what a command wrote to stderr, and no other, tells that the Prefect server is away."""
    assert "Traceback" not in said
    assert [line for line in said.splitlines() if line.startswith("slipway: ")] == said.splitlines()[-1:], said
    assert "does not answer any more" in said.splitlines()[-1]


def reconcile_and_check(three_replicas: ThreeReplicas) -> None:
    """What an operator does, or the schedule, once all parts of the world are there again."""
    reconcile(three_replicas.fleet.name)
    three_replicas.await_whole()


@contextmanager
def command(
    three_replicas: ThreeReplicas, number: int, prefect: LocalPrefect, **environment: str
) -> Iterator["subprocess.Popen[str]"]:
    """`slipway release`, under way."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "infra.cli.main",
            "release",
            "affine",
            "--saved-model",
            str(three_replicas.model(number)),
            "--again",
            "--ungated",
            "nothing is known of it but its answers",
        ],
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

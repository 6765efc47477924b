"""A release goes on while one part of the world breaks in its middle, under a client that never stops asking."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from flows.reconcile import reconcile
from tasks.layout import candidate_name
from tests.integration.clients import Client
from tests.integration.local import LocalPrefect, LocalStore, until
from tests.integration.trio import Trio

pytestmark = pytest.mark.timeout(900)

AWAY = 20.0  # seconds that the store is gone


@pytest.fixture(scope="module")
def prefect_of_its_own(trio: Trio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPrefect]:
    """A Prefect server that a test may stop."""
    found = LocalPrefect(tmp_path_factory.mktemp("prefect"), trio.settings)
    found.start()
    yield found
    found.kill()


def test_a_release_ends_right_though_an_agent_died_and_came_back(trio: Trio) -> None:
    release, disturbed = trio.release(1), trio.replicas[0]
    with Client(disturbed).hammering() as client:
        await_trial(trio)
        disturbed.kill("agent")
        disturbed.start()
        assert release.end() is None
        trio.await_whole()
    trio.require_served(client)


def test_clients_of_other_replicas_notice_nothing_of_a_model_server_that_died(trio: Trio) -> None:
    release, disturbed = trio.release(2), trio.replicas[1]
    with Client(trio.replicas[0]).hammering() as client:
        await_trial(trio)
        disturbed.kill("model-server")
        disturbed.start()
        ended = release.end()
        print(ended)
        reconcile(trio.fleet.name)
        trio.await_whole()
    trio.require_served(client)


def test_serving_goes_on_while_the_store_is_away_and_the_release_is_mended_once_it_is_back(
    trio: Trio, weed: LocalStore
) -> None:
    release = trio.release(3)
    with Client(trio.replicas[0]).hammering() as client:
        await_trial(trio)
        weed.stop()
        back = time.monotonic() + AWAY
        until(lambda: time.monotonic() > back, "the store was away for long enough")
        weed.start()
        ended = release.end()
        print(ended)
        reconcile(trio.fleet.name)
        trio.await_whole()
    trio.require_served(client)


def test_a_release_whose_prefect_server_goes_away_says_so_and_leaves_the_fleet_whole(
    trio: Trio, prefect_of_its_own: LocalPrefect
) -> None:
    with Client(trio.replicas[0]).hammering() as client:
        release = command(trio, prefect_of_its_own)
        await_trial(trio)
        prefect_of_its_own.kill()
        began = time.monotonic()
        printed, said = release.communicate(timeout=300)
        print(time.monotonic() - began, release.returncode, printed, said)
        reconcile(trio.fleet.name)
        trio.await_whole()
    trio.require_served(client)


def await_trial(trio: Trio) -> None:
    """Wait until a release has put its version on trial: its rollout is in the middle."""
    until(lambda: trio.fleet.newest().entry(candidate_name("affine")), "a version is on trial", 120)


def command(trio: Trio, prefect: LocalPrefect) -> "subprocess.Popen[str]":
    """`slipway release`, under way."""
    return subprocess.Popen(
        [sys.executable, "-m", "infra.cli.main", "release", "affine", "--saved-model", str(trio.model(4))],
        env=os.environ | prefect.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

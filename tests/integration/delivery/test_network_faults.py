"""Releases through a network that loses requests and answers, before a store that is in trouble."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.reconcile import reconcile
from tasks.store.s3 import Store
from tests.helpers.clients import Client
from tests.helpers.faulty_proxy import FAULTS, FaultyProxy
from tests.helpers.local import LocalStore
from tests.helpers.three_replicas import ThreeReplicas

pytestmark = pytest.mark.timeout(900)

SEED = 20261122
SHARES = (0.1, 0.1, 0.4)  # of the requests that meet a fault, release by release


@pytest.fixture(scope="module")
def proxy(weed: LocalStore) -> Iterator[FaultyProxy]:
    """What stands between the store and all who work with it."""
    found = FaultyProxy(weed.settings.store_port, SEED)
    yield found
    found.close()


@pytest.fixture(scope="module")
def trio_behind(
    proxy: FaultyProxy, prefect: None, weed: LocalStore, small_models: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ThreeReplicas]:
    """A fleet of three whose agents reach the store through the proxy; what a test itself asks does not."""
    changes = {"bucket": f"test-{uuid.uuid4().hex[:12]}", "fleet": "test", "load_deadline": 60.0}
    mine = weed.settings.model_copy(update=changes)
    Store.connect(mine).ensure_bucket()
    theirs = mine.model_copy(update={"store_port": proxy.port, "call_deadline": 2.0})
    with ThreeReplicas(tmp_path_factory.mktemp("trio"), mine, small_models, theirs).serving() as found:
        yield found


def test_releases_through_a_bad_network_end_right_or_fail_clean(trio_behind: ThreeReplicas, proxy: FaultyProxy) -> None:
    trio = trio_behind
    through = {"SLIPWAY_STORE_PORT": str(proxy.port), "SLIPWAY_CALL_DEADLINE": "2"}
    with Client(*trio.replicas).hammering() as client:
        for number, share in enumerate(SHARES):
            with proxy.faulty(share):
                ended = trio.release(number, **through).end(300)
            assert ended is None or f"The store at http://127.0.0.1:{proxy.port}" in ended, ended
            reconcile(trio.fleet.name)
            trio.await_whole()
    trio.require_served(client)
    assert all(proxy.seen[fault] for fault in FAULTS), proxy.seen

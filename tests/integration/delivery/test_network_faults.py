"""Releases through a network that loses requests and answers, before a store that is in trouble."""

import pytest

from flows.reconcile import reconcile
from tests.helpers.clients import Client
from tests.helpers.faulty_proxy import FAULTS
from tests.helpers.three_replicas import ThreeReplicas

pytestmark = pytest.mark.timeout(900)


@pytest.mark.parametrize("share", [0.1, *(pytest.param(share, marks=pytest.mark.soak) for share in (0.2, 0.4, 0.6))])
def test_a_release_through_a_bad_network_ends_right_or_fails_clean(three_replicas: ThreeReplicas, share: float) -> None:
    """`share` of the requests, of agents and of the release, meet a fault."""
    proxy = three_replicas.proxy
    proxy.seen.clear()
    with Client(*three_replicas.replicas).hammering() as client:
        with proxy.faulty(share):
            ended = three_replicas.release(
                round(10 * share), SLIPWAY_STORE_PORT=str(proxy.port), SLIPWAY_CALL_DEADLINE="2"
            ).end(600)
        assert ended is None or f"The store at http://127.0.0.1:{proxy.port}" in ended, ended
        reconcile(three_replicas.fleet.name)
        three_replicas.await_whole()
    three_replicas.require_served(client)
    assert all(proxy.seen[fault] for fault in FAULTS), proxy.seen

"""Servers without agents are reported of as they are configured now, whatever was kept of them."""

from pathlib import Path

from tasks.fleet import agentless
from tasks.fleet.config import Fleet, WithoutAgents
from tasks.records import ReplicaReport
from tasks.settings import ServerAddress
from tasks.store.base import Store
from tests.helpers.versions import UNSIGNED


def test_a_server_whose_rest_port_was_changed_is_reported_at_its_new_one(store: Store, tmp_path: Path) -> None:
    address = ServerAddress("127.0.0.1", grpc_port=1, rest_port=2)
    direct = WithoutAgents((address,), tmp_path, deadline=0.2)
    fleet = Fleet(store, UNSIGNED, "test", 1.0, without_agents=direct)
    fleet.put_report(ReplicaReport(address.name, "http://127.0.0.1:3", address.grpc_address, 0, {}))
    (report,) = agentless.reports(fleet, direct)
    assert (report.replica, report.rest_url) == (address.name, address.rest_url)

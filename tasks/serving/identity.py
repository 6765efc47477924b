"""Who a replica is: what its agent says of itself, held against what was reported."""

import json
from collections.abc import Collection
from urllib.parse import urlsplit

import requests

from tasks.errors import ServingError, ServingUnreachable
from tasks.records import ReplicaReport

PATH = "/whoami"
_LONGEST = 65536  # bytes of an answer that are read


def told(fleet: str, replica: str, place: str | None) -> bytes:
    """Who an agent is, as it says so: JSON."""
    return json.dumps({"fleet": fleet, "replica": replica, "place": place}).encode()


def require_reporter(fleet: str, report: ReplicaReport, hosts: Collection[str], deadline: float) -> None:
    """Raise unless what is asked at the addresses that a replica of `fleet` reported is that replica.

    An address may lead elsewhere from here than from where it was reported: 127.0.0.1 does on each machine. And a thief
    who may write to the bucket can report any. So the agent there must say that it is that replica.

    Args:
        hosts: the machines that may be asked; none: any. Where they are named, an agent that cannot be asked need not.
        deadline: of asking the agent, seconds.

    Raises:
        ServingUnreachable: no agent answers there within `deadline` seconds, or none can be asked.
        ServingError: another one does, or an address is not on one of `hosts`, or they are on several.
    """
    reported = {"//" + report.grpc_address, report.rest_url, report.agent_url or report.rest_url}
    named = {_host(address) for address in reported}
    if len(named) > 1 or (hosts and not named <= set(hosts)):
        raise ServingError(
            f"Replica {report.replica} of fleet {fleet!r} reported {', '.join(sorted(reported))}: "
            + ("they are on several machines." if len(named) > 1 else "SLIPWAY_REPLICA_HOSTS names no such host.")
            + " Nothing is asked there."
        )
    if report.agent_url is None:
        if hosts:
            return
        raise ServingUnreachable(
            f"Replica {report.replica} of fleet {fleet!r} cannot be asked: it reported no address of an agent, which "
            "would say that it is that replica. If its agent is of an earlier release, restart it with this one. If "
            "it listens on loopback alone, let SLIPWAY_REPLICA_HOSTS name the hosts that may be asked."
        )
    try:
        with requests.Session() as session:
            session.trust_env = False  # no proxy: it is for the outside, not for our own replicas
            reply = session.get(f"{report.agent_url}{PATH}", timeout=deadline, allow_redirects=False, stream=True)
            answer = next(reply.iter_content(_LONGEST), b"")
    except (requests.RequestException, ValueError) as error:
        raise ServingUnreachable(
            f"Replica {report.replica} cannot be asked: no agent answers at {report.agent_url}, which it reported "
            f"({type(error).__name__}). Is it running, and does SLIPWAY_ADVERTISE_HOST say there how this machine "
            "reaches it?"
        ) from error
    if answer != told(fleet, report.replica, report.place):
        raise ServingError(
            f"Replica {report.replica} of fleet {fleet!r} reported {report.agent_url}, where another agent answers "
            f"({answer[:200].decode(errors='replace')}), so its model server cannot be asked there. On its machine let "
            "SLIPWAY_ADVERTISE_HOST say how this one reaches it."
        )


def _host(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""

"""Who a replica is: what its agent says of itself, held against what was reported."""

import json

import requests

from tasks.errors import ServingError, ServingUnreachable
from tasks.records import ReplicaReport

PATH = "/whoami"
_LONGEST = 65536  # bytes of an answer that are read


def told(fleet: str, replica: str, place: str | None) -> bytes:
    """Who an agent is, as it says so: JSON."""
    return json.dumps({"fleet": fleet, "replica": replica, "place": place}).encode()


def require_reporter(fleet: str, report: ReplicaReport, deadline: float) -> None:
    """Raise unless the agent at the address that a replica of `fleet` reported is the one that reported it.

    An address may lead elsewhere from here than from where it was reported: 127.0.0.1 does on each machine. An agent
    that is not reachable from here, and says so in its report, is not asked.

    Raises:
        ServingUnreachable: no agent answers there within `deadline` seconds.
        ServingError: another one does.
    """
    if report.agent_url is None:
        return
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

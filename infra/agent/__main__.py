"""Run the agent of one replica: `python -m infra.agent`, set up by SLIPWAY_ variables."""

import logging
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Mapping
from queue import SimpleQueue
from typing import TYPE_CHECKING

from tasks.errors import SlipwayError

if TYPE_CHECKING:
    from tasks.settings import Settings


def main() -> int:
    """Converge this replica until SIGTERM; the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    stop = threading.Event()
    # A handler that set the event itself could interrupt the thread where that holds the event's lock.
    signals: SimpleQueue[int] = SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: signals.put(number))

    def wait() -> None:
        signals.get()
        stop.set()

    threading.Thread(target=wait, name="signals", daemon=True).start()
    try:
        _run(stop)
    except SlipwayError as error:
        print(f"slipway-agent: {error}", file=sys.stderr)  # noqa: T201 - a start-up error is for whoever started it
        return 1
    return 0


def named(mine: "Settings", environment: Mapping[str, str]) -> "Settings":
    """The settings, with the machine's name as the replica's if nothing says another: no two replicas may share one."""
    from tasks.settings import SUPERVISED

    if "replica" in mine.model_fields_set or SUPERVISED in environment:
        return mine
    return mine.model_copy(update={"replica": re.sub(r"[^A-Za-z0-9_.-]|^[^A-Za-z0-9]", "-", socket.gethostname())[:63]})


def _run(stop: threading.Event) -> None:
    from infra.agent import health
    from infra.agent.agent import Agent
    from tasks.fleet.converge import Replica
    from tasks.proxies import stay_local
    from tasks.serving.client import ServingClient
    from tasks.settings import settings
    from tasks.store.connect import connect
    from tasks.versions.signing import Trust

    mine = named(settings(), os.environ)
    stay_local(os.environ, mine.host)
    server = ServingClient(f"{mine.host}:{mine.grpc_port}", f"http://{mine.host}:{mine.rest_port}", mine.call_deadline)
    replica = Replica(
        *(connect(mine), Trust.of(mine), mine.replica, server),
        *(mine.replica_models, mine.replica_config, mine.other_folders, mine.advertised),
        agent_url=mine.agent_url,
    )
    agent = Agent(mine, replica)
    agent.require_own_name()
    listener = health.serve(agent, mine.host, mine.agent_port)
    logging.getLogger(__name__).info(
        "fleet %s, replica %s, models in %s", mine.fleet, mine.replica, mine.replica_models
    )
    try:
        agent.run(stop)
    finally:
        listener.shutdown()
        server.close()


if __name__ == "__main__":
    sys.exit(main())

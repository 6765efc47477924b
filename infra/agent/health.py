"""The agent's own HTTP server: /healthz, /readyz, /metrics and /whoami."""

import json
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from infra.agent.agent import Agent, Health
from infra.browsers import Hosts, refusal
from tasks.errors import PortTaken
from tasks.serving import identity


class AgentMetrics(Collector):
    """The agent's state as Prometheus metrics."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def collect(self) -> list[GaugeMetricFamily]:
        """The metrics at this moment."""
        health = self._agent.health
        ready = GaugeMetricFamily("slipway_replica_ready", "1 if all of the newest config is AVAILABLE.", health.ready)
        reached = GaugeMetricFamily("slipway_replica_config", "Number of the config reached.", health.config)
        newest = GaugeMetricFamily("slipway_replica_config_newest", "Number of the newest config.", health.newest)
        failures = GaugeMetricFamily("slipway_replica_failures", "Failed looks since the start.", health.failures)
        loaded = GaugeMetricFamily(
            "slipway_replica_version_available", "1 for each AVAILABLE version.", labels=["model", "version"]
        )
        for model, states in health.models.items():
            for state in states:
                if state.state == "AVAILABLE":
                    loaded.add_metric([model, str(state.version)], 1)
        return [ready, reached, newest, failures, loaded]


def serve(agent: Agent, host: str, port: int) -> ThreadingHTTPServer:
    """Serve the agent's health in the background.

    Raises:
        PortTaken: another program listens on this port.
    """
    registry = CollectorRegistry()
    registry.register(AgentMetrics(agent))

    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            headers = ((name.lower().encode(), value.encode()) for name, value in self.headers.items())
            refused = refusal("GET", headers, Hosts(host, port))
            if refused is not None:
                self._answer(HTTPStatus(refused.status), f"{refused.reason}\n".encode(), "text/plain")
            elif self.path == "/metrics":
                self._answer(HTTPStatus.OK, generate_latest(registry), "text/plain; version=0.0.4")
            elif self.path == "/healthz":
                self._answer(HTTPStatus.OK, b"ok\n", "text/plain")
            elif self.path == "/readyz":
                health = agent.health
                status = HTTPStatus.OK if health.ready else HTTPStatus.SERVICE_UNAVAILABLE
                self._answer(status, readiness(health), "application/json")
            elif self.path == identity.PATH:
                mine = identity.told(agent.fleet.name, agent.replica.name, agent.replica.place)
                self._answer(HTTPStatus.OK, mine, "application/json")
            else:
                self._answer(HTTPStatus.NOT_FOUND, b"try /healthz, /readyz, /metrics or /whoami\n", "text/plain")

        def _answer(self, status: HTTPStatus, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Log no line for each request."""

    try:
        server = ThreadingHTTPServer((host, port), Handler)
    except OSError as error:
        raise PortTaken(
            f"Port {port} for the agent's health is taken ({error.strerror}): set SLIPWAY_AGENT_PORT to a free one."
        ) from None
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    return server


def readiness(health: Health) -> bytes:
    """Why the replica is ready or not, as JSON."""
    known = {"ready": health.ready, "config": health.config, "newest": health.newest, "error": health.error}
    return json.dumps(known).encode() + b"\n"

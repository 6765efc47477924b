"""The agent's loop: look, converge, report."""

import logging
import threading
import time
from dataclasses import dataclass, field

from tasks import layout
from tasks.converge import Replica, States
from tasks.errors import ServingUnreachable, SlipwayError, StoreUnreachable
from tasks.fetch import clear_leftovers
from tasks.fleet import Fleet, FleetConfig
from tasks.protos import ModelServerConfig
from tasks.records import ReplicaReport
from tasks.settings import Settings

log = logging.getLogger(__name__)

HEARTBEAT = 5.0  # seconds between two reports while nothing changes; a lease is a multiple of it
_LONGEST_PAUSE = 10.0  # seconds between two tries of what fails; a third of a lease, to be heard of again in time


@dataclass
class Health:
    """What the agent knows of itself, for /readyz and /metrics."""

    config: int = 0
    newest: int = 0
    ready: bool = False
    error: str | None = None
    failures: int = 0
    models: States = field(default_factory=dict)


class Agent:
    """Brings one replica to its fleet's newest config, again and again.

    While nothing changes a look costs one request to the store, however many models there are. When the store is
    away, serving goes on and the looks become rarer.
    """

    def __init__(self, settings: Settings, replica: Replica) -> None:
        self.settings = settings
        self.replica = replica
        self.fleet = Fleet(replica.store, settings.fleet, settings.load_deadline)
        self.health = Health()
        self._config = FleetConfig(0, ModelServerConfig())  # the newest known
        self._reported = 0.0
        self._pause = settings.poll_interval

    def run(self, stop: threading.Event) -> None:
        """Look until `stop` is set."""
        clear_leftovers(self.replica.models_dir)
        while not stop.is_set():
            self.step()
            stop.wait(self._pause)

    def step(self) -> None:
        """One look: anything that fails is logged, reported and tried again later."""
        try:
            changed = self._look()
        except (StoreUnreachable, ServingUnreachable) as error:
            self._failed(error)
        except SlipwayError as error:
            self._failed(error)
            self._try_report()
        else:
            self._pause = self.settings.poll_interval
            if changed or time.monotonic() - self._reported > HEARTBEAT:
                self._try_report()

    def _look(self) -> bool:
        """Converge if there is something to converge to; whether anything changed."""
        newest = self._newest()
        failing = self.health.error is not None
        if newest.number == self.health.config and not failing and self.replica.reached(newest):
            self.health.ready = True
            return False
        self.health.ready = False
        began = time.monotonic()
        self.health.models = self.replica.converge(newest, self.settings.load_deadline)
        self.health.config, self.health.error, self.health.ready = newest.number, None, True
        log.info("config %d reached in %.1f s: %s", newest.number, time.monotonic() - began, told(self.health.models))
        return True

    def _newest(self) -> FleetConfig:
        self._config = self.fleet.newer(self._config.number) or self._config
        self.health.newest = self._config.number
        return self._config

    def _failed(self, error: SlipwayError) -> None:
        if str(error) != self.health.error:
            log.error("%s", error)
        self.health.error = str(error)
        self.health.failures += 1
        self.health.ready = self.health.ready and isinstance(error, StoreUnreachable)
        self._pause = min(_LONGEST_PAUSE, self._pause * 2)

    def _try_report(self) -> None:
        try:
            self.fleet.store.put(
                layout.replica_key(self.settings.fleet, self.settings.replica), self._report().to_json()
            )
            self._reported = time.monotonic()
        except SlipwayError as error:
            log.warning("the report did not get through: %s", error)

    def _report(self) -> ReplicaReport:
        return ReplicaReport(
            replica=self.settings.replica,
            rest_url=self.replica.server.rest_url,
            grpc_address=self.replica.server.grpc_address,
            config=self.health.config,
            models=self.health.models,
            error=self.health.error,
            error_config=self.health.newest if self.health.error else None,
        )


def told(states: States) -> str:
    """The AVAILABLE versions in one line."""
    loaded = [f"{model} {s.version}" for model, versions in states.items() for s in versions if s.state == "AVAILABLE"]
    return ", ".join(loaded) or "nothing"

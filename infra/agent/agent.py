"""The agent's loop: look, converge, report."""

import logging
import threading
import time
from dataclasses import dataclass, field

from tasks.errors import InvalidSettings, LoadFailed, ServingUnreachable, SlipwayError, StoreUnreachable, StoreWentBack
from tasks.fleet import lost
from tasks.fleet.config import Fleet, FleetConfig
from tasks.fleet.converge import Replica, States, prune
from tasks.fleet.lost import Kept
from tasks.fleet.replicas import HEARTBEAT, LEASE, LONGEST_PAUSE, reporting
from tasks.records import ReplicaReport
from tasks.settings import Settings
from tasks.versions.fetch import clear_leftovers
from tasks.wire.protos import ModelServerConfig

log = logging.getLogger(__name__)

_FATAL = 2  # deaths on the way to one config that make it the cause: the first may have another


@dataclass(frozen=True)
class _Deaths:
    """How often the model server ended while it was brought to one config."""

    config: int = 0
    count: int = 0

    def one_more(self, config: int) -> "_Deaths":
        return _Deaths(config, self.count + 1 if config == self.config else 1)


@dataclass
class Health:
    """What the agent knows about its replica, for its reports, /readyz and /metrics.

    config is the number of the config that the replica has reached, newest that of the fleet's newest config; failures
    counts failed looks; models are the states when config was reached.
    """

    config: int = 0
    newest: int = 0
    ready: bool = False
    error: str | None = None
    error_model: str | None = None  # the model concerned, if it is a single one
    error_by_version: bool = False  # whether its version seems to be at fault
    lost: bool = False  # whether the store lost the config that was reached
    doubts: list[str] = field(default_factory=list)  # why entries of the newest config are not served
    failures: int = 0
    models: States = field(default_factory=dict)


class Agent:
    """Brings one replica to its fleet's newest config, again and again.

    While nothing changes a look costs one request to the store, whatever the number of models. While the store is
    unreachable, serving goes on and the looks become rarer.
    """

    def __init__(self, settings: Settings, replica: Replica) -> None:
        self.settings = settings
        self.replica = replica
        self.fleet = Fleet(replica.store, replica.trust, settings.fleet, settings.load_deadline)
        self.health = Health()
        self._config = FleetConfig(0, ModelServerConfig())  # the newest known
        self._listed = False  # whether the fleet's configs were listed since this agent began
        self._kept_file = replica.config_file.with_name("reached.json")
        self._kept = Kept.read(self._kept_file, self.fleet)
        self._checked = float("-inf")  # when the store was last known to have what is kept
        self._deaths = _Deaths()
        self._reported = 0.0
        self._pause = settings.poll_interval

    def require_own_name(self) -> None:
        """Raise if a replica elsewhere reports by the same name. A store that is away is passed over.

        Raises:
            InvalidSettings: one does.
        """
        try:
            found = {report.replica: report for report in reporting(self.fleet)}.get(self.replica.name)
        except StoreUnreachable:
            return
        here = self.replica.place
        if found is not None and found.place not in (None, here):
            raise InvalidSettings(
                f"Fleet {self.fleet.name!r} has a replica {found.replica!r} already, at {found.place}: give this one "
                f"another name by SLIPWAY_REPLICA. If that one is gone, `slipway replicas {self.fleet.name} --forget "
                f"{found.replica}` removes it once it has been silent for {LEASE.total_seconds():g} s."
            )

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
        except OSError as error:
            self._failed(
                InvalidSettings(
                    f"This replica cannot write to its disk: {error}. It serves on, and tries again by itself. Make "
                    "room, or correct the permissions."
                )
            )
            self._try_report()
        else:
            self._pause = self.settings.poll_interval
            if changed or time.monotonic() - self._reported > HEARTBEAT:
                self._try_report()

    def _look(self) -> bool:
        """Converge unless the newest config is reached; whether anything changed."""
        asked = self._newest()
        newest, doubts = self.replica.believed(asked)
        if doubts != self.health.doubts:
            for doubt in doubts:
                log.error("config %d: %s", newest.number, doubt)
            self.health.doubts = doubts
        failing = self.health.error is not None
        if newest.number == self.health.config and not failing and self.replica.reached(newest):
            self.health.ready = True
            return False
        self.health.ready = False
        began = time.monotonic()
        self.health.models = self._converge(newest)
        prune(self.replica.models_dir, newest, self.replica.store, [self.replica.server])
        self.health.config, self.health.error, self.health.ready = newest.number, None, True
        if newest.number != self._kept.number:
            self._kept = Kept.write(self._kept_file, self.fleet, asked)
        log.info(
            "config %d reached in %.1f s: %s",
            newest.number,
            time.monotonic() - began,
            loaded_versions(self.health.models),
        )
        return True

    def _converge(self, newest: FleetConfig) -> States:
        """Bring the replica to `newest`.

        If the model server ends twice on the way, that is an error of the config, to be reported like any other.
        Otherwise the replica would fall silent, and a rollout would go on without it.

        Raises:
            LoadFailed, DeadlineExceeded, StoreUnreachable, ServingError: as `Replica.converge`.
        """
        self.replica.server.statuses("any")  # a server that has ended before did not end because of this config
        try:
            models = self.replica.converge(newest, self.settings.load_deadline)
        except ServingUnreachable as error:
            self._deaths = self._deaths.one_more(newest.number)
            if self._deaths.count < _FATAL:
                raise
            raise LoadFailed(
                f"The model server ended {self._deaths.count} times on its way to config {newest.number}; if memory "
                f"ran out, serve fewer models on this replica, or give it more. {error}",
                by_version=True,
            ) from error
        self._deaths = _Deaths()
        return models

    def _newest(self) -> FleetConfig:
        newer = self.fleet.newer(self._config) if self._listed else self.fleet.newest()
        self._listed = True
        if newer is not None:
            self._config = self.fleet.seen_by(self.replica.name, newer)
        self.health.newest = self._config.number
        if self._config.number < self._kept.number or time.monotonic() - self._checked > HEARTBEAT:
            self._require_kept()
        return self._config

    def _require_kept(self) -> None:
        """Raise, and serve on, if the store lost the config that this replica has reached.

        Raises:
            StoreWentBack: it did.
        """
        self._checked = float("-inf")
        try:
            lost.require_kept(self.fleet, self.replica.name, self._kept, self._config)
        except StoreWentBack:
            self.health.config, self.health.models = self._kept.number, self.replica.states(self._kept.config.models)
            self.health.ready = self.replica.reached(self._kept.config)
            raise
        self._checked = time.monotonic()

    def _failed(self, error: SlipwayError) -> None:
        if str(error) != self.health.error:
            log.error("%s", error)
        self.health.error = str(error)
        self.health.error_model = error.model if isinstance(error, LoadFailed) else None
        self.health.error_by_version = isinstance(error, LoadFailed) and error.by_version
        self.health.failures += 1
        self.health.lost = isinstance(error, StoreWentBack)
        self.health.ready = self.health.ready and isinstance(error, StoreUnreachable | StoreWentBack)
        self._pause = min(LONGEST_PAUSE, self._pause * 2)

    def _try_report(self) -> None:
        try:
            self.fleet.put_report(self._report())
            self._reported = time.monotonic()
        except SlipwayError as error:
            log.warning("the report did not get through: %s", error)

    def _report(self) -> ReplicaReport:
        health = self.health
        if health.error is None:
            return self.replica.report(health.config, health.models, "; ".join(health.doubts) or None)
        return self.replica.report(
            health.config,
            health.models,
            health.error,
            health.newest,
            health.error_model,
            self._kept.text if health.lost else None,
            health.error_by_version,
        )


def loaded_versions(states: States) -> str:
    """The AVAILABLE versions, in one line for people."""
    loaded = [f"{model} {s.version}" for model, versions in states.items() for s in versions if s.state == "AVAILABLE"]
    return ", ".join(loaded) or "nothing"

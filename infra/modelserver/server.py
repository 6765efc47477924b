"""Putting the parts together, serving, and stopping."""

import logging
import signal
import threading
from queue import SimpleQueue

from infra.modelserver import settings_files
from infra.modelserver.config import ServerConfig
from infra.modelserver.errors import StartupError, StatusError
from infra.modelserver.grpc_server import GrpcServer
from infra.modelserver.lifecycle.manager import Manager, ManagerOptions
from infra.modelserver.lifecycle.reload import Reloader
from infra.modelserver.lifecycle.source import FileSystemSource
from infra.modelserver.lifecycle.states import StateMonitor
from infra.modelserver.loader import Loader
from infra.modelserver.metrics import Metrics
from infra.modelserver.rest_server import RestServer
from infra.modelserver.runtime import c_api

log = logging.getLogger(__name__)

_GRACE_SECONDS = 10.0


def set_at_signals(stopping: threading.Event) -> None:
    """Set an event at SIGTERM or SIGINT, from another thread.

    A signal interrupts the main thread wherever it is. If that is within `stopping.wait()`, where it holds the event's
    lock, the handler would wait for the lock, and the thread for the handler, for ever.
    """
    signals: SimpleQueue[int] = SimpleQueue()  # takes no lock that Python code may hold
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: signals.put(number))

    def wait() -> None:
        signals.get()
        stopping.set()

    threading.Thread(target=wait, name="signals", daemon=True).start()


class ModelServer:
    """The server: made of a config, then run until it is told to stop."""

    def __init__(self, config: ServerConfig) -> None:
        """Take the ports. Nothing is loaded yet, and nothing listens.

        Raises:
            StartupError: a port is taken.
        """
        self._config, flags = config, config.flags
        self._stopping = threading.Event()
        metrics, monitor = Metrics(), StateMonitor()
        options = ManagerOptions(
            flags.max_num_load_retries, flags.load_retry_interval_micros / 1e6, max(1, flags.num_load_threads)
        )
        manager = Manager(Loader(config, metrics), monitor, options)
        self._source = FileSystemSource(manager.set_wanted, flags.file_system_poll_wait_seconds)
        self._reloader = Reloader(
            manager,
            self._source,
            monitor,
            allow_labels_for_unavailable=flags.allow_version_labels_for_unavailable_models,
        )
        self._rest = RestServer(config, manager, metrics, _GRACE_SECONDS) if flags.rest_api_port else None
        self._grpc = GrpcServer(config, manager, metrics, self._reloader)

    def run(self) -> None:
        """Load all models, answer, and stop at SIGTERM or SIGINT.

        Raises:
            StartupError: a model did not load, or a port cannot be had after all.
        """
        set_at_signals(self._stopping)
        c_api.load()
        log.info("TensorFlow %s; loading models", c_api.version())
        if not self._load_models():
            return
        self._grpc.start()
        if self._rest is not None:
            self._rest.start()
        self._stopping.wait()
        self._stop()

    def _load_models(self) -> bool:
        """Load what the config names, and from now on what its file names; whether to go on."""
        flags = self._config.flags
        try:
            self._reloader.apply(self._config.models, cancelled=self._stopping.is_set)
        except StatusError as error:
            if self._stopping.is_set():
                return False
            raise StartupError(f"the models did not load: {error}") from error
        if flags.model_config_file and flags.model_config_file_poll_wait_seconds > 0:
            threading.Thread(target=self._poll_config, name="config-poll", daemon=True).start()
        return True

    def _poll_config(self) -> None:
        """Apply the config file again and again, changed or not; a broken one is logged, and the old one stays."""
        flags, complaint = self._config.flags, ""
        while not self._stopping.wait(flags.model_config_file_poll_wait_seconds):
            try:
                config = settings_files.model_config(flags.model_config_file)
                self._reloader.apply(config, cancelled=self._stopping.is_set)
                complaint = ""
            except (StatusError, StartupError) as error:
                if str(error) != complaint:
                    log.error("the config file was not taken, the old config stays: %s", error)
                complaint = str(error)

    def _stop(self) -> None:
        """Stop both sides at once, and wait for both."""
        log.info("stopping")
        self._source.stop()
        if self._rest is not None:
            self._rest.stop()
        stopped = self._grpc.stop(_GRACE_SECONDS)
        if self._rest is not None:
            self._rest.wait()
        stopped.wait(_GRACE_SECONDS)

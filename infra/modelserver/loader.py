"""Loading one model version, ready to serve."""

import threading
import time

from infra.modelserver.config import ServerConfig
from infra.modelserver.inference import warmup
from infra.modelserver.metrics import Metrics
from infra.modelserver.runtime.batching import Batcher, BatchingParameters, BatchScheduler
from infra.modelserver.runtime.servable import LoadOptions, Servable


class Loader:
    """Loads SavedModels as the config says: with a batcher before the session, and warmed up. Thread-safe."""

    def __init__(self, config: ServerConfig, metrics: Metrics) -> None:
        self._flags, self._batching, self._metrics = config.flags, config.batching, metrics
        self._options = LoadOptions(
            tuple(tag for tag in self._flags.saved_model_tags.split(",") if tag),
            config.session_config,
            self._flags.enable_signature_method_name_check,
        )
        self._lock = threading.Lock()
        self._schedulers: dict[str, BatchScheduler] = {}  # of each model

    def __call__(self, name: str, version: int, path: str) -> Servable:
        """Load the SavedModel at a path.

        Raises:
            StatusError: TensorFlow cannot load it, or a warm-up request fails.
        """
        servable = self._load(name, version, path)
        if self._batching is not None:
            scheduler = self._scheduler(name, self._batching)
            servable.merge_runs(lambda session: Batcher(session, name, scheduler))
        if self._flags.enable_model_warmup:
            try:
                warmup.replay(servable, max(1, self._flags.num_request_iterations_for_warmup))
            except BaseException:
                servable.close()
                raise
        return servable

    def _load(self, name: str, version: int, path: str) -> Servable:
        start, failed = time.perf_counter(), True
        try:
            servable = Servable(name, version, path, self._options, self._metrics)
            failed = False
            return servable
        finally:
            self._metrics.record_load(path, time.perf_counter() - start, failed=failed)

    def _scheduler(self, name: str, parameters: BatchingParameters) -> BatchScheduler:
        with self._lock:
            if name not in self._schedulers:
                self._schedulers[name] = BatchScheduler(parameters, self._metrics)
            return self._schedulers[name]

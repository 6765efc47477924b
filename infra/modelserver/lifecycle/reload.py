"""Applying a new model config, in TensorFlow Serving's order and with its error texts (server_core.cc)."""

import logging
import threading
from collections.abc import Callable
from pathlib import PurePosixPath

from infra.modelserver.errors import Code, StatusError, failed_precondition, invalid_argument
from infra.modelserver.lifecycle.manager import Manager
from infra.modelserver.lifecycle.source import FileSystemSource, Watched
from infra.modelserver.lifecycle.states import State, StateMonitor, Watch
from tasks.wire.protos import ModelConfig, ModelConfigList, ModelServerConfig, ModelType

log = logging.getLogger(__name__)

PLATFORM = "tensorflow"


def platform_of(model: ModelConfig) -> str:
    """A model's platform.

    Raises:
        StatusError: INVALID_ARGUMENT; it names none, or two, or one that is not supported.
    """
    if model.model_type:
        if model.model_platform:
            raise invalid_argument(
                "Illegal setting both ModelServerConfig::model_type (deprecated) and ModelServerConfig::model_platform."
            )
        if model.model_type != ModelType.TENSORFLOW:
            raise invalid_argument(f"ModelServerConfig::model_type choice {model.model_type} not supported.")
        return PLATFORM
    if not model.model_platform:
        raise invalid_argument(
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor ModelServerConfig::model_platform, "
            f"model name is {model.name}"
        )
    return str(model.model_platform)


def is_relative(path: str) -> bool:
    """Whether a base path is neither absolute nor a URI."""
    return "://" not in path and not PurePosixPath(path).is_absolute()


def validate(new: ModelConfigList, old: ModelConfigList) -> None:
    """Check a ModelConfigList that is to replace another.

    Raises:
        StatusError: INVALID_ARGUMENT; it lists a name twice, has a relative base path, logs requests without a
            collector or changes a platform.
    """
    names = set()
    for model in new.config:
        if model.name in names:
            raise invalid_argument(f"Illegal to list model {model.name} multiple times in config list")
        names.add(model.name)
    for model in new.config:
        if is_relative(model.base_path):
            raise invalid_argument(
                f"Expected model {model.name} to have an absolute path or URI; got base_path()={model.base_path}"
            )
        if model.HasField("logging_config") and not model.logging_config.HasField("log_collector_config"):
            raise invalid_argument(f"Missing log_collector_config in request logging config of model {model.name}")
    platforms = {model.name: platform_of(model) for model in old.config}
    for model in new.config:
        before = platforms.get(model.name)
        if before is not None and platform_of(model) != before:
            raise invalid_argument(
                f"Illegal to change a model's platform. For model {model.name} platform was {before} "
                f"and new platform requested is {platform_of(model)}"
            )


class Reloader:
    """Applies one config at a time. A model that the config does not name is unloaded."""

    def __init__(
        self, manager: Manager, source: FileSystemSource, monitor: StateMonitor, *, allow_labels_for_unavailable: bool
    ) -> None:
        self._manager, self._source, self._monitor = manager, source, monitor
        self._allow_labels_for_unavailable = allow_labels_for_unavailable
        self._lock = threading.Lock()
        self._config = ModelServerConfig()

    def apply(self, config: ModelServerConfig, cancelled: Callable[[], bool] = lambda: False) -> None:
        """Check and keep a config, set its labels, poll its base paths, and wait until models of a new name are loaded.

        After an error about labels the base paths are those from before, but the config is kept: that is TensorFlow
        Serving's order.

        Raises:
            StatusError: INVALID_ARGUMENT or FAILED_PRECONDITION for a wrong config; UNKNOWN if a new model did not
                become available; CANCELLED if cancelled() was true first.
        """
        while not self._lock.acquire(timeout=0.2):
            if cancelled():
                raise StatusError(Code.CANCELLED, "The reload was cancelled while another one was under way.")
        try:
            self._apply(config, cancelled)
        finally:
            self._lock.release()

    def _apply(self, config: ModelServerConfig, cancelled: Callable[[], bool]) -> None:
        kind, before = config.WhichOneof("config"), self._config.WhichOneof("config")
        if before is not None and not (before == kind == "model_config_list"):
            raise failed_precondition(
                "Cannot transition to requested config. It is only legal to transition from one ModelConfigList to "
                "another."
            )
        if kind is None:
            log.info("took no action for an empty config")
            return
        if kind != "model_config_list":
            raise invalid_argument("Only ModelConfigList is supported; custom_model_config is not.")
        validate(config.model_config_list, self._config.model_config_list)
        self._config.CopyFrom(config)
        self._set_labels()
        models = {}
        for model in self._config.model_config_list.config:
            if (platform := platform_of(model)) != PLATFORM:
                raise invalid_argument(f"Model {model.name} requests unsupported platform {platform}")
            models[model.name] = Watched(model.name, model.base_path, model.model_version_policy)
        new = models.keys() - self._source.names()
        watch = self._monitor.watch()
        try:
            self._source.update(models)
            self._source.start()
            log.info("took a config of %d models: %s", len(models), ", ".join(sorted(models)) or "none")
            self._wait(watch, new, cancelled)
        finally:
            watch.close()

    def _wait(self, watch: Watch, names: set[str], cancelled: Callable[[], bool]) -> None:
        reached = watch.wait(names, cancelled)
        if reached is None:
            raise StatusError(Code.CANCELLED, f"The reload was cancelled before these were loaded: {sorted(names)}")
        failed = {name: status for name, status in sorted(reached.items()) if status.state is not State.AVAILABLE}
        if failed:
            details = "".join(
                f"{{{{name: {name} version: {status.version}}}"
                + (f" due to error: {status.code.name}: {status.message}" if status.code else "")
                + "}, "
                for name, status in failed.items()
            )
            raise StatusError(Code.UNKNOWN, f"{len(failed)} model(s) did not become available: {{{details}}}")

    def _set_labels(self) -> None:
        """Set the config's labels, which must point at AVAILABLE versions; new ones need not if the flag allows it.

        Raises:
            StatusError: FAILED_PRECONDITION; a label points at another version.
        """
        labels: dict[str, dict[str, int]] = {}
        for model in self._config.model_config_list.config:
            available = self._monitor.available(model.name)
            for label, version in sorted(model.version_labels.items()):
                moved = self._manager.labelled(model.name, label) not in (None, version)
                if version not in available and (moved or not self._allow_labels_for_unavailable):
                    raise failed_precondition(
                        f"Request to assign label to version {version} of model {model.name}, which is not currently "
                        "available for inference"
                    )
                labels.setdefault(model.name, {})[label] = version
        self._manager.set_labels(labels)

"""Polling the file system for the versions that models should have."""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.modelserver.lifecycle.policy import VersionPolicy, wanted_versions

log = logging.getLogger(__name__)

SetWanted = Callable[[str, Mapping[int, str]], None]


@dataclass(frozen=True, slots=True)
class Watched:
    """A model to look for: its base path, and the policy that chooses among the versions there."""

    name: str
    base_path: str
    policy: VersionPolicy


class MissingBasePath(Exception):
    """A model's base path does not exist, which aborts the whole poll."""


def poll(models: Mapping[str, Watched]) -> dict[str, dict[int, str]]:
    """The wanted versions that the file system holds: model → version → path.

    Raises:
        MissingBasePath: one base path does not exist.
    """
    found = {}
    for model in models.values():
        base = Path(model.base_path)
        try:
            children = [child.name for child in base.iterdir()]
        except OSError as error:
            raise MissingBasePath(f"Could not find base path {base} for servable {model.name}") from error
        found[model.name] = {
            version: str(base / child) for version, child in wanted_versions(children, model.policy).items()
        }
    return found


class FileSystemSource:
    """Tells the manager at every poll which versions are wanted.

    interval is in seconds; 0 polls once, negative never. If one base path is missing, all models stay as they are.
    """

    def __init__(self, set_wanted: SetWanted, interval: float) -> None:
        self._set_wanted, self._interval = set_wanted, interval
        self._lock = threading.Lock()
        self._models: dict[str, Watched] = {}
        self._stopped = threading.Event()
        self._complaints: set[str] = set()
        self._started = False

    def names(self) -> set[str]:
        """The models that are looked for."""
        with self._lock:
            return set(self._models)

    def update(self, models: Mapping[str, Watched]) -> None:
        """Look for these models from the next poll on; those that are no longer named are unloaded at once."""
        with self._lock:
            for name in self._models.keys() - models.keys():
                self._set_wanted(name, {})
            self._models = dict(models)

    def start(self) -> None:
        """Begin to poll; later calls do nothing."""
        if self._started or self._interval < 0:
            return
        self._started = True
        threading.Thread(target=self._run, name="file-system-poll", daemon=True).start()

    def stop(self) -> None:
        """Stop polling."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self.poll_once()
            except Exception:  # the next poll may do better, as when no thread could be started
                log.exception("a poll of the file system failed")
            if self._interval == 0:
                return
            self._stopped.wait(self._interval)

    def poll_once(self) -> None:
        """Poll once. A problem is logged when it is new, not at every poll."""
        with self._lock:
            complaints = set()
            try:
                found = poll(self._models)
            except MissingBasePath as error:
                complaints.add(f"{error}; nothing is loaded or unloaded until it is there")
                found = {}
            for name, versions in found.items():
                complaints |= self._missing(name, versions)
                self._set_wanted(name, versions)
            for complaint in sorted(complaints - self._complaints):
                log.warning("%s", complaint)
            self._complaints = complaints

    def _missing(self, name: str, versions: Mapping[int, str]) -> set[str]:
        model = self._models[name]
        absent = set(model.policy.specific.versions) - versions.keys()
        complaints = {
            f"version {version} of {name} is asked for but not found under {model.base_path}" for version in absent
        }
        if not versions:
            complaints.add(f"no versions of {name} found under {model.base_path}")
        return complaints

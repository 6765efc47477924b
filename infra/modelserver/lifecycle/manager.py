"""Which model versions are loaded, and who may use them now."""

import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType

from infra.modelserver.errors import Code, StatusError, as_status, invalid_argument, not_found
from infra.modelserver.lifecycle.policy import Action, Managed, Phase, may_apply, next_action
from infra.modelserver.lifecycle.states import State, StateMonitor, VersionStatus
from infra.modelserver.runtime.servable import Servable

__all__ = ["Manager", "ManagerOptions", "State", "VersionStatus"]

log = logging.getLogger(__name__)

Loader = Callable[[str, int, str], Servable]


@dataclass(frozen=True, slots=True)
class ManagerOptions:
    """Load retries (interval in seconds), and how many versions may load at once."""

    max_load_retries: int = 5
    retry_interval: float = 60.0
    load_threads: int = 1


class _Version:
    """A managed version: its phase, and how many requests hold it."""

    def __init__(self, name: str, version: int, path: str) -> None:
        self.name, self.version, self.path = name, version, path
        self.phase, self.wanted = Phase.NEW, True
        self.given_up = threading.Event()
        self.servable: Servable | None = None
        self._lock = threading.Lock()
        self._holders, self._closing = 0, False
        self._free = threading.Event()

    def hold(self) -> Servable | None:
        """The servable for one more request; None if it is about to be unloaded."""
        with self._lock:
            if self._closing:
                return None
            self._holders += 1
            return self.servable

    def let_go(self) -> None:
        with self._lock:
            self._holders -= 1
            if self._closing and not self._holders:
                self._free.set()

    def wait_until_free(self) -> None:
        """Give the servable to no further request, and wait for those that hold it."""
        with self._lock:
            self._closing = True
            if not self._holders:
                self._free.set()
        self._free.wait()


class _Hold(AbstractContextManager[Servable]):
    """A version held for one request."""

    __slots__ = ("_find", "_version")

    def __init__(self, find: Callable[[], _Version]) -> None:
        self._find = find

    def __enter__(self) -> Servable:
        while True:
            self._version = self._find()
            servable = self._version.hold()
            if servable is not None:
                return servable

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._version.let_go()


class Manager:
    """Loads, serves and unloads versions. Thread-safe.

    A new version is loaded before the old one goes, and requests in flight on the old one finish.
    """

    def __init__(self, loader: Loader, monitor: StateMonitor, options: ManagerOptions | None = None) -> None:
        self._loader, self._monitor, self._options = loader, monitor, options or ManagerOptions()
        self._lock = threading.Lock()
        self._managed: dict[str, dict[int, _Version]] = {}
        self._pending: dict[str, Mapping[int, str]] = {}
        self._slots = threading.Semaphore(max(1, self._options.load_threads))
        # Read without the lock by every request: replaced, never changed.
        self._ready: Mapping[str, Mapping[int, _Version]] = {}
        self._labels: Mapping[str, Mapping[str, int]] = {}

    # -- requests

    def acquire(self, name: str, version: int | None, label: str | None) -> AbstractContextManager[Servable]:
        """A version held for one request; it is not unloaded before the context ends.

        version wins over label; neither means the highest loaded version.

        Raises:
            StatusError: on entering. NOT_FOUND "Servable not found for request: Latest(absent)"; INVALID_ARGUMENT
                "Unrecognized servable version label: x", or "ModelSpec has no name specified." for an empty name.
        """
        return _Hold(lambda: self._find(name, version, label))

    def _find(self, name: str, version: int | None, label: str | None) -> _Version:
        if not name:
            raise invalid_argument("ModelSpec has no name specified.")
        if version is None and label is not None:
            version = self.labelled(name, label)
            if version is None:
                raise invalid_argument(f"Unrecognized servable version label: {label}")
        versions = self._ready.get(name, {})
        if version is None:
            for latest in versions.values():  # the highest comes first
                return latest
            raise not_found(f"Servable not found for request: Latest({name})")
        if version not in versions:
            raise not_found(f"Servable not found for request: Specific({name}, {version})")
        return versions[version]

    def serves(self, name: str) -> bool:
        """Whether any version of a model is loaded."""
        return bool(self._ready.get(name))

    def statuses(self, name: str, version: int | None) -> list[VersionStatus]:
        """Status of all versions of a model (highest first), or of one.

        Raises:
            StatusError: NOT_FOUND "Could not find any versions of model absent", or "Could not find version 2 of model
                affine".
        """
        return self._monitor.statuses(name, version)

    # -- labels

    def labelled(self, name: str, label: str) -> int | None:
        """The version that a label points at; None for an unknown label."""
        return self._labels.get(name, {}).get(label)

    def set_labels(self, labels: Mapping[str, Mapping[str, int]]) -> None:
        """Replace all labels by these: model → label → version."""
        self._labels = {name: dict(versions) for name, versions in labels.items()}

    # -- wanted versions

    def set_wanted(self, name: str, versions: Mapping[int, str]) -> None:
        """Say which versions of a model are wanted, version → path. Loading and unloading follow in other threads."""
        with self._lock:
            self._pending[name] = dict(versions)
            self._proceed(name)

    def _proceed(self, name: str) -> None:
        """Take the newest list of wanted versions if possible, and do what the policy says. Call with the lock held."""
        managed = self._managed.setdefault(name, {})
        if name in self._pending and may_apply(_seen(managed), self._pending[name]):
            self._apply(name, managed, self._pending.pop(name))
        while (action := next_action(_seen(managed).values())) is not None:
            self._begin(managed[action.version], action)
        if not managed:
            del self._managed[name]

    def _apply(self, name: str, managed: dict[int, _Version], wish: Mapping[int, str]) -> None:
        for number, version in list(managed.items()):
            version.wanted = number in wish
            if version.wanted:
                continue
            version.given_up.set()
            if version.phase in (Phase.NEW, Phase.FAILED):
                del managed[number]
                if version.phase is Phase.NEW:
                    self._monitor.publish(name, number, State.END)
        for number, path in wish.items():
            if number not in managed:
                managed[number] = _Version(name, number, path)
                self._monitor.publish(name, number, State.START)

    def _begin(self, version: _Version, action: Action) -> None:
        work = self._load if action.load else self._unload
        threading.Thread(target=work, args=(version,), name=f"{version.name}-{version.version}", daemon=True).start()
        version.phase = Phase.LOADING if action.load else Phase.UNLOADING  # if it could not start, it may yet

    def _publish_ready(self) -> None:
        """Let requests find what is ready. Call with the lock held."""
        self._ready = {
            name: {number: managed[number] for number in sorted(managed, reverse=True)
                   if managed[number].phase is Phase.READY}
            for name, managed in self._managed.items()
        }  # fmt: skip

    # -- loading and unloading, each in its own thread

    def _load(self, version: _Version) -> None:
        error = self._try_to_load(version)
        with self._lock:
            version.phase = Phase.FAILED if error else Phase.READY
            if error is not None and not version.wanted:
                self._managed[version.name].pop(version.version, None)
            self._publish_ready()
            self._monitor.publish(version.name, version.version, State.END if error else State.AVAILABLE, error)
            self._proceed(version.name)

    def _try_to_load(self, version: _Version) -> StatusError | None:
        """Load, retrying as often as is allowed; the last error if all tries failed."""
        what, error = f"{version.name} version {version.version}", None
        for attempt in range(self._options.max_load_retries + 1):
            if attempt and version.given_up.wait(max(0.0, self._options.retry_interval)):
                break
            with self._slots:
                if version.given_up.is_set():
                    break
                self._monitor.publish(version.name, version.version, State.LOADING)
                try:
                    version.servable = self._loader(version.name, version.version, version.path)
                except Exception as failure:  # noqa: BLE001 - any error of a loader is that version's failure
                    error = as_status(failure)
                else:
                    log.info("loaded %s from %s", what, version.path)
                    return None
            log.error("could not load %s from %s: %s", what, version.path, str(error).splitlines()[0])
        return error or StatusError(Code.CANCELLED, "Load cancelled before we could try to load.")

    def _unload(self, version: _Version) -> None:
        with self._lock:
            self._publish_ready()
            self._monitor.publish(version.name, version.version, State.UNLOADING)
        version.wait_until_free()
        servable, version.servable = version.servable, None
        if servable is not None:
            servable.close()
        log.info("unloaded %s version %d", version.name, version.version)
        with self._lock:
            self._managed[version.name].pop(version.version, None)
            self._monitor.publish(version.name, version.version, State.END)
            self._proceed(version.name)


def _seen(managed: Mapping[int, _Version]) -> dict[int, Managed]:
    return {number: Managed(number, version.phase, version.wanted) for number, version in managed.items()}

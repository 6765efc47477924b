"""The states that model versions are in, and waiting for them."""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum

from infra.modelserver.errors import Code, StatusError, not_found

_CHECK_SECONDS = 0.2


class State(IntEnum):
    """A version's state, numbered as in GetModelStatus."""

    UNKNOWN = 0
    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass(frozen=True, slots=True)
class VersionStatus:
    """What GetModelStatus says of one version."""

    version: int
    state: State
    code: Code
    message: str


_States = dict[str, dict[int, VersionStatus]]


def settled(states: _States, names: Iterable[str]) -> dict[str, VersionStatus] | None:
    """For each name its highest version that is AVAILABLE or has ended; None while any name has no such version.

    This is what TensorFlow Serving waits for, at start-up and on reload (servable_state_monitor.cc).
    """
    reached: dict[str, VersionStatus] = {}
    for name in names:
        done = [s for s in states.get(name, {}).values() if s.state in (State.AVAILABLE, State.END)]
        if not done:
            return None
        reached[name] = max(done, key=lambda status: status.version)
    return reached


class StateMonitor:
    """Remembers the latest state of every version that was ever managed. Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._states: _States = {}
        self._watches: list[_States] = []

    def publish(self, name: str, version: int, state: State, error: StatusError | None = None) -> None:
        """A version has reached a state; error says why it ended."""
        status = VersionStatus(version, state, error.code if error else Code.OK, error.message if error else "")
        with self._changed:
            for states in (self._states, *self._watches):
                states.setdefault(name, {})[version] = status
            self._changed.notify_all()

    def statuses(self, name: str, version: int | None) -> list[VersionStatus]:
        """Status of all versions of a model (highest first), or of one.

        Raises:
            StatusError: NOT_FOUND "Could not find any versions of model absent", or "Could not find version 2 of model
                affine".
        """
        with self._changed:
            versions = dict(self._states.get(name, {}))
        if version is not None:
            if version not in versions:
                raise not_found(f"Could not find version {version} of model {name}")
            return [versions[version]]
        if not versions:
            raise not_found(f"Could not find any versions of model {name}")
        return [versions[number] for number in sorted(versions, reverse=True)]

    def available(self, name: str) -> set[int]:
        """The versions of a model that are AVAILABLE now."""
        with self._changed:
            return {s.version for s in self._states.get(name, {}).values() if s.state == State.AVAILABLE}

    def watch(self) -> "Watch":
        """Begin to note states, so that what ended before is not mistaken for an answer."""
        states: _States = {}
        with self._changed:
            self._watches.append(states)
        return Watch(self._changed, states, self._watches)


class Watch:
    """The states published since the watch began."""

    def __init__(self, changed: threading.Condition, states: _States, watches: list[_States]) -> None:
        self._changed, self._states, self._watches = changed, states, watches

    def wait(self, names: Iterable[str], cancelled: Callable[[], bool]) -> dict[str, VersionStatus] | None:
        """Wait until the versions of these models are `settled`; None if cancelled() is true first."""
        wanted = list(names)
        with self._changed:
            while (reached := settled(self._states, wanted)) is None:
                if cancelled():
                    return None
                self._changed.wait(_CHECK_SECONDS)
            return reached

    def close(self) -> None:
        """Stop noting states."""
        with self._changed:
            self._watches[:] = [states for states in self._watches if states is not self._states]

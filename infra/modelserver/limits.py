"""How many gRPC calls of one model are taken at once, so that its clients can delay only each other."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from infra.modelserver.errors import Code, StatusError

_WAITING = 16  # calls that may wait for each that runs
_KNOWN = 1024  # models
_FOREVER = 1e6  # seconds; a gRPC call without a deadline has a very late one


class _Calls:
    def __init__(self, running: int) -> None:
        self.turns = threading.Semaphore(running)
        self.count = 0


class CallLimits:
    """Bounds each model's calls: `running` of them run at once, 16 times as many wait, and further ones are refused.

    Thread-safe. A call that waits occupies its thread: `most` is how many threads one model's calls can occupy.
    """

    def __init__(self, running: int) -> None:
        self._running, self.most = running, running * (1 + _WAITING)
        self._lock = threading.Lock()
        self._models: dict[str, _Calls] = {}

    @contextmanager
    def turn(self, model: str, timeout: float | None) -> Iterator[None]:
        """Wait for a turn, at most `timeout` seconds, and keep it within the context.

        Raises:
            StatusError: RESOURCE_EXHAUSTED if too many calls wait already, DEADLINE_EXCEEDED if its turn is too late.
        """
        with self._lock:
            calls = self._of(model)
            if calls.count >= self.most:
                raise StatusError(Code.RESOURCE_EXHAUSTED, f"{calls.count} calls of {model} run or wait already")
            calls.count += 1
        try:
            if not calls.turns.acquire(timeout=None if timeout is None or timeout > _FOREVER else timeout):
                raise StatusError(Code.DEADLINE_EXCEEDED, f"Timed out waiting for earlier calls of {model}")
            try:
                yield
            finally:
                calls.turns.release()
        finally:
            with self._lock:
                calls.count -= 1

    def _of(self, model: str) -> _Calls:
        calls = self._models.get(model)
        if calls is None:
            if len(self._models) >= _KNOWN:  # clients make up names
                self._models = {name: known for name, known in self._models.items() if known.count}
            calls = self._models[model] = _Calls(self._running)
        return calls

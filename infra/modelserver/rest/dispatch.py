"""Running blocking model calls from the event loop."""

import asyncio
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from infra.modelserver.errors import Code, StatusError
from infra.modelserver.runtime.blocking import QUICK_SECONDS, WouldBlock, expected, nothing_may_block

T = TypeVar("T")

SMALL_BYTES = 1 << 16
_KINDS = 1024
_TURNS = 20


class Dispatcher:
    """Keeps long work off the event loop, and short work out of the threads.

    To go to a thread and back costs more than a small model's whole answer. So work on a small body runs on the loop if
    such work took under 2 ms before; work that may turn out long raises WouldBlock there, and moves to a thread.

    Each model has threads of its own: a run that has begun cannot be interrupted, and occupies its thread until it
    ends, even after its request has timed out. So a model can delay only its own clients.
    """

    def __init__(self, threads: int, serves: Callable[[str], bool]) -> None:
        """threads is how many each model may occupy; serves tells whether a model of that name is served."""
        self._threads, self._serves = threads, serves
        self._pools: dict[str, ThreadPoolExecutor] = {}
        self._not_now: dict[Hashable, int] = {}
        # The attributes above are used by the loop's thread alone; those below by every thread.
        self._lock = threading.Lock()
        self._seconds: OrderedDict[Hashable, float] = OrderedDict()  # expected, by kind of work, latest used last

    async def call(self, function: Callable[..., T], *args: Any, model: str = "", timeout: float | None = None) -> T:
        """Call a blocking function in one of the model's threads.

        Raises:
            StatusError: DEADLINE_EXCEEDED after `timeout` seconds. If the call has begun by then it goes on, and its
                result is dropped.
        """
        work = self._pool(model).submit(function, *args)
        future = asyncio.wrap_future(work)
        done, _ = await asyncio.wait([future], timeout=timeout)
        if not done:
            work.cancel()  # unless it has begun
            raise StatusError(Code.DEADLINE_EXCEEDED, "Timed out waiting for notification")  # the session's own words
        return future.result()

    async def call_quick(
        self, kind: Hashable, size: int, function: Callable[..., T], *args: Any,
        model: str = "", timeout: float | None = None,
    ) -> T:  # fmt: skip
        """Call a function on the loop if it is expected to be short, or else as `call` does.

        If it raises WouldBlock on the loop it is called again, in a thread.

        Args:
            kind: what its duration is expected by: the model and the verb.
            size: of the unpacked body, in bytes.

        Raises:
            StatusError: as `call`.
        """
        if size > SMALL_BYTES:
            return await self.call(function, *args, model=model, timeout=timeout)

        if self._may_try(kind):
            try:
                with nothing_may_block():
                    return self._timed(kind, function, *args)
            except WouldBlock:
                self._not_now[kind] = _TURNS
        return await self.call(self._timed, kind, function, *args, model=model, timeout=timeout)

    def _pool(self, model: str) -> ThreadPoolExecutor:
        name = model if self._serves(model) else ""  # names of models that do not exist share one pool
        if name not in self._pools:
            for gone in [known for known in self._pools if known and not self._serves(known)]:
                self._pools.pop(gone).shutdown(wait=False)
            self._pools[name] = ThreadPoolExecutor(self._threads, thread_name_prefix=f"rest-{name}")
        return self._pools[name]

    def _may_try(self, kind: Hashable) -> bool:
        """Whether work of this kind is expected to be short. After a WouldBlock it is not tried for some turns."""
        turns = self._not_now.pop(kind, 0)
        if turns > 1:
            self._not_now[kind] = turns - 1
        return not turns and self._seconds.get(kind, QUICK_SECONDS) < QUICK_SECONDS

    def _timed(self, kind: Hashable, function: Callable[..., T], *args: Any) -> T:
        start = time.perf_counter()
        try:
            result = function(*args)
        except WouldBlock:
            raise
        except Exception:
            self._note(kind, time.perf_counter() - start)
            raise
        self._note(kind, time.perf_counter() - start)
        return result

    def _note(self, kind: Hashable, seconds: float) -> None:
        with self._lock:
            self._seconds[kind] = expected(self._seconds.pop(kind, math.inf), seconds)
            if len(self._seconds) > _KINDS:
                self._seconds.popitem(last=False)

    def close(self) -> None:
        """Start no more calls."""
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)

"""Running blocking model calls from the event loop."""

import asyncio
import time
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from infra.modelserver.errors import Code, StatusError
from infra.modelserver.runtime.blocking import SMALL_BYTES, Pace, WouldBlock, nothing_may_block

T = TypeVar("T")
_HEAVY_THREADS: Final = 2  # of a model: one reads while the other runs


class Dispatcher:
    """Keeps long work off the event loop, and short work out of the threads.

    To go to a thread and back costs more than a small model's whole answer. So work that may run on the loop (see
    `runtime.blocking`) does.

    Each model has threads of its own: a run that has begun cannot be interrupted, and occupies its thread until it
    ends, even after its request has timed out. So a model can delay only its own clients. Its heavy requests have few
    threads, apart from the others: they can delay each other.
    """

    def __init__(self, threads: int, serves: Callable[[str], bool]) -> None:
        """threads is how many each model may occupy; serves tells whether a model of that name is served."""
        self._threads, self._serves = threads, serves
        self._pools: dict[tuple[str, bool], ThreadPoolExecutor] = {}
        self._pace = Pace()

    async def call(
        self, function: Callable[..., T], *args: Any, model: str = "", timeout: float | None = None, heavy: bool = False
    ) -> T:
        """Call a blocking function in one of the model's threads, or of those for its heavy requests.

        Raises:
            StatusError: DEADLINE_EXCEEDED after `timeout` seconds. If the call has begun by then it goes on, and its
                result is dropped.
        """
        work = self._pool(model, heavy).submit(function, *args)
        future = asyncio.wrap_future(work)
        done, _ = await asyncio.wait([future], timeout=timeout)
        if not done:
            work.cancel()  # unless it has begun
            raise StatusError(Code.DEADLINE_EXCEEDED, "Timed out waiting for notification")  # the session's own words
        return future.result()

    async def call_quick(
        self, kind: Hashable, size: int, function: Callable[..., T], *args: Any,
        model: str = "", timeout: float | None = None, heavy: bool = False,
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
            return await self.call(function, *args, model=model, timeout=timeout, heavy=heavy)

        if self._pace.is_quick(kind):
            try:
                with nothing_may_block():
                    return self._timed(kind, function, *args)
            except WouldBlock:
                self._pace.put_off(kind)
        return await self.call(self._timed, kind, function, *args, model=model, timeout=timeout)

    def _pool(self, model: str, heavy: bool) -> ThreadPoolExecutor:
        name = model if self._serves(model) else ""  # names of models that do not exist share their pools
        if (name, heavy) not in self._pools:
            for gone in [known for known in self._pools if known[0] and not self._serves(known[0])]:
                self._pools.pop(gone).shutdown(wait=False)
            threads = min(self._threads, _HEAVY_THREADS) if heavy else self._threads
            self._pools[name, heavy] = ThreadPoolExecutor(threads, thread_name_prefix=f"rest-{name}")
        return self._pools[name, heavy]

    def _timed(self, kind: Hashable, function: Callable[..., T], *args: Any) -> T:
        start, done = time.perf_counter(), True
        try:
            return function(*args)
        except WouldBlock:
            done = False
            raise
        finally:
            if done:
                self._pace.record(kind, time.perf_counter() - start)

    def close(self) -> None:
        """Start no more calls."""
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)

"""Running blocking model calls from the event loop."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from infra.modelserver.servable import Array, Servable, Signature

T = TypeVar("T")

_QUICK_SECONDS = 0.002
_SMALL_BYTES = 1 << 16
_KEYS = 1024


class Dispatcher:
    """Keeps long work off the event loop, and short work out of the threads.

    Going to a thread and back costs more than a small model's whole answer. So work on a small body runs on the loop
    where earlier work of the same kind took under 2 ms, and in a thread otherwise.
    """

    def __init__(self, threads: int, *, always_in_threads: bool = False) -> None:
        """always_in_threads is for work that waits for other work, as batches do."""
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="rest")
        self._always_in_threads = always_in_threads
        self._seconds: OrderedDict[Hashable, float] = OrderedDict()  # moving averages; used on the loop's thread only

    async def run(
        self,
        servable: Servable,
        signature: Signature,
        inputs: Mapping[str, Array],
        timeout: float | None = None,
        outputs: Sequence[str] | None = None,
    ) -> dict[str, Array]:
        """Servable.run without blocking the loop; the same errors."""
        return await self.call(servable.run, signature, inputs, outputs, timeout)

    async def call(self, function: Callable[..., T], *args: Any) -> T:
        """A blocking call in a worker thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *args)

    async def call_sized(self, key: Hashable, size: int, function: Callable[..., T], *args: Any) -> T:
        """A blocking call on `size` bytes, here where work under this key is known to be short, else in a thread."""
        if size > _SMALL_BYTES or self._always_in_threads:
            return await self.call(function, *args)
        start = time.perf_counter()
        try:
            if self._seconds.get(key, _QUICK_SECONDS) < _QUICK_SECONDS:
                return function(*args)
            return await self.call(function, *args)
        finally:
            self._note(key, time.perf_counter() - start)

    def _note(self, key: Hashable, seconds: float) -> None:
        before = self._seconds.pop(key, seconds)
        self._seconds[key] = 0.8 * before + 0.2 * seconds
        if len(self._seconds) > _KEYS:
            self._seconds.popitem(last=False)

    def close(self) -> None:
        """Start no more calls."""
        self._pool.shutdown(wait=False, cancel_futures=True)

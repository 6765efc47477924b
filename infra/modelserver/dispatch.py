"""Running blocking model calls from the event loop."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

from infra.modelserver.blocking import WouldBlock, nothing_may_block
from infra.modelserver.servable import Array, Servable, Signature

T = TypeVar("T")

_QUICK_SECONDS = 0.002
_SMALL_BYTES = 1 << 16
_KINDS = 1024


class Dispatcher:
    """Keeps long work off the event loop, and short work out of the threads.

    Going to a thread and back costs more than a small model's whole answer. So work on a small body runs on the loop
    where it took under 2 ms so far; work that can't promise to be short raises WouldBlock there, and goes to a thread.
    """

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="rest")
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

    async def call_quick(self, kind: Hashable, size: int, function: Callable[..., T], *args: Any) -> T:
        """Work on a body of `size` bytes (unpacked): here where such work is known to be short, else in a thread.

        kind tells works apart (model, verb). It is begun a second time, in a thread, when it raises WouldBlock here.
        """
        if size > _SMALL_BYTES:
            return await self.call(function, *args)
        start = time.perf_counter()
        try:
            if self._seconds.get(kind, _QUICK_SECONDS) < _QUICK_SECONDS:
                with suppress(WouldBlock), nothing_may_block():
                    return function(*args)
            return await self.call(function, *args)
        finally:
            self._note(kind, time.perf_counter() - start)

    def _note(self, kind: Hashable, seconds: float) -> None:
        before = self._seconds.pop(kind, seconds)
        self._seconds[kind] = 0.8 * before + 0.2 * seconds
        if len(self._seconds) > _KINDS:
            self._seconds.popitem(last=False)

    def close(self) -> None:
        """Start no more calls."""
        self._pool.shutdown(wait=False, cancel_futures=True)

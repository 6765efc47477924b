"""Running blocking model calls from the event loop."""

import asyncio
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from infra.modelserver.blocking import QUICK_SECONDS, WouldBlock, expected, nothing_may_block
from infra.modelserver.servable import Array, Servable, Signature

T = TypeVar("T")

_SMALL_BYTES = 1 << 16
_KINDS = 1024
_TURNS = 20


class Dispatcher:
    """Keeps long work off the event loop, and short work out of the threads.

    Going to a thread and back costs more than a small model's whole answer. So work on a small body runs on the loop
    where it took under 2 ms so far; work that can't promise to be short raises WouldBlock there, and goes to a thread.
    """

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="rest")
        self._not_now: dict[Hashable, int] = {}  # of the loop's thread
        self._lock = threading.Lock()
        self._seconds: OrderedDict[Hashable, float] = OrderedDict()  # as expected, the kind asked for last at the end

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

        if self._may_try(kind):
            try:
                with nothing_may_block():
                    return self._timed(kind, function, *args)
            except WouldBlock:
                self._not_now[kind] = _TURNS
        return await self.call(self._timed, kind, function, *args)

    def _may_try(self, kind: Hashable) -> bool:
        """Whether work of this kind should be short here. What has raised WouldBlock is not tried for some turns."""
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
        self._pool.shutdown(wait=False, cancel_futures=True)

"""Running blocking model calls from the event loop."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from infra.modelserver.servable import Array, Servable, Signature

T = TypeVar("T")


class Dispatcher:
    """Keeps long model runs off the event loop."""

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="rest")

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
        """Any other blocking call (decoding a large body, classify, regress) in a worker thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *args)

    def close(self) -> None:
        """Start no more calls."""
        self._pool.shutdown(wait=False, cancel_futures=True)

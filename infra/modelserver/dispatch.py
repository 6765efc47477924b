"""Running blocking model calls from the event loop."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from infra.modelserver.servable import Array, Servable, Signature

T = TypeVar("T")


class Dispatcher:
    """Keeps long model runs off the event loop."""

    async def run(
        self,
        servable: Servable,
        signature: Signature,
        inputs: Mapping[str, Array],
        timeout: float | None = None,
        outputs: Sequence[str] | None = None,
    ) -> dict[str, Array]:
        """Servable.run without blocking the loop; the same errors."""
        raise NotImplementedError

    async def call(self, function: Callable[..., T], *args: Any) -> T:
        """Any other blocking call (decoding a large body, classify, regress) in a worker thread."""
        raise NotImplementedError

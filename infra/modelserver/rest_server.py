"""The REST side of the server: its port, and the thread that its event loop runs in."""

import asyncio
import logging
import threading

import uvloop

from infra.modelserver.config import ServerConfig
from infra.modelserver.lifecycle.manager import Manager
from infra.modelserver.metrics import Metrics
from infra.modelserver.ports import bind
from infra.modelserver.rest.app import RestApp, RestOptions
from infra.modelserver.rest.browsers import is_loopback
from infra.modelserver.rest.dispatch import Dispatcher
from infra.modelserver.rest.protocol import Connection

log = logging.getLogger(__name__)

_BACKLOG = 2048
_POLL_SECONDS = 0.05


class RestServer:
    """TensorFlow Serving's REST API, answered by an event loop in a thread."""

    def __init__(self, config: ServerConfig, manager: Manager, metrics: Metrics, grace: float) -> None:
        """Take the port. Nothing listens yet. grace is what requests under way have when it stops, in seconds.

        Raises:
            StartupError: the port is taken.
        """
        flags = self._flags = config.flags
        self._grace = grace
        self._socket = bind(flags.bind_address, flags.rest_api_port, "rest_api_port")
        self._dispatcher = Dispatcher(flags.rest_api_num_threads, manager.serves)
        options = RestOptions(
            self._dispatcher,
            metrics,
            flags.rest_api_timeout_in_ms / 1000,
            config.monitoring_path,
            flags.rest_api_enable_cors_support,
            flags.log_requests,
            refuse_pages=is_loopback(flags.bind_address) and not flags.rest_api_enable_cors_support,
        )
        self._app = RestApp(manager, options)
        self._loop = uvloop.new_event_loop()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._serve, name="rest", daemon=True)

    def start(self) -> None:
        """Answer."""
        self._socket.listen(_BACKLOG)
        self._thread.start()
        log.info("REST at %s:%d", self._flags.bind_address, self._flags.rest_api_port)

    def stop(self) -> None:
        """Take no more requests; those under way may go on for as long as the grace is."""
        self._loop.call_soon_threadsafe(self._stopping.set)

    def wait(self) -> None:
        """After `stop`: wait for the end."""
        self._thread.join(self._grace)
        self._dispatcher.close()

    def _serve(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._answer_until_stopped())

    async def _answer_until_stopped(self) -> None:
        open_ones: set[Connection] = set()
        server = await self._loop.create_server(
            lambda: Connection(self._app, open_ones), sock=self._socket, backlog=_BACKLOG
        )
        await self._stopping.wait()
        server.close()
        for connection in list(open_ones):
            connection.shut_down()
        end = self._loop.time() + self._grace
        while open_ones and self._loop.time() < end:
            await asyncio.sleep(_POLL_SECONDS)

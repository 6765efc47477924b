"""The gRPC side of the server: its ports, threads and limits."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from infra.modelserver import grpc_messages
from infra.modelserver.config import ServerConfig
from infra.modelserver.errors import StartupError
from infra.modelserver.flags import Flags
from infra.modelserver.grpc_messages import Unzipper
from infra.modelserver.grpc_services import GrpcOptions, ModelService, PredictionService
from infra.modelserver.lifecycle.manager import Manager
from infra.modelserver.lifecycle.reload import Reloader
from infra.modelserver.limits import CallLimits
from infra.modelserver.metrics import Metrics
from infra.modelserver.ports import bind
from tasks.wire.protos import add_ModelServiceServicer_to_server, add_PredictionServiceServicer_to_server

log = logging.getLogger(__name__)

_INT32_MAX = 2**31 - 1
_SERVICES = ("tensorflow.serving.ModelService", "tensorflow.serving.PredictionService")
_BUSY_MODELS = 8  # that may hold all their calls at once and still leave threads to others


class _Threads(ThreadPoolExecutor):
    """Starts the threads that it needs, and goes on with those that it has if the machine gives it no more.

    gRPC hands over every call in one thread of its own, and an error there ends that thread: no later call would be
    answered, or refused.
    """

    def submit(self, function: Callable[..., Any], /, *args: Any, **keywords: Any) -> Future[Any]:
        """As ThreadPoolExecutor; what finds no thread is done by the next one that is free."""
        try:
            return super().submit(function, *args, **keywords)
        except RuntimeError as error:
            log.error("a call waits for another's thread: %s", error)
            nothing: Future[Any] = Future()
            nothing.set_result(None)
            return nothing


class GrpcServer:
    """PredictionService, ModelService and, if the flags say so, grpc.health.v1."""

    def __init__(self, config: ServerConfig, manager: Manager, metrics: Metrics, reloader: Reloader) -> None:
        """Make the services, and see that the port is free. Nothing listens yet.

        Raises:
            StartupError: the port is taken, or a channel argument is not of the form key=value.
        """
        self._tls, flags = config.tls, config.flags
        self._addresses = _addresses(flags)
        if flags.port:
            bind(flags.bind_address, flags.port, "port").close()
        limits = CallLimits(flags.grpc_max_threads)
        most = _BUSY_MODELS * limits.most
        pool = _Threads(max_workers=most, thread_name_prefix="grpc")
        self._server = grpc.server(
            pool, interceptors=[Unzipper()], options=_server_options(flags), maximum_concurrent_rpcs=most
        )
        options = GrpcOptions(
            flags.enable_serialization_as_tensor_content, flags.enforce_session_run_timeout, flags.log_requests
        )
        add_PredictionServiceServicer_to_server(PredictionService(manager, metrics, limits, options), self._server)
        add_ModelServiceServicer_to_server(ModelService(manager, reloader), self._server)
        if flags.enable_grpc_healthcheck_service:
            servicer = health.HealthServicer()
            for service in ("", *_SERVICES):
                servicer.set(service, health_pb2.HealthCheckResponse.SERVING)
            health_pb2_grpc.add_HealthServicer_to_server(servicer, self._server)

    def start(self) -> None:
        """Open the ports and answer.

        Raises:
            StartupError: a port or socket cannot be had.
        """
        for address in self._addresses:
            self._add_port(address)
        self._server.start()
        log.info("gRPC at %s", ", ".join(self._addresses))

    def stop(self, grace: float) -> threading.Event:
        """Take no more calls; those under way may go on for `grace` seconds. The event is set at the end."""
        stopped: threading.Event = self._server.stop(grace)
        return stopped

    def _add_port(self, address: str) -> None:
        tls = self._tls
        flag = "grpc_socket_path" if address.startswith("unix:") else "port"
        try:
            if tls is None:
                self._server.add_insecure_port(address)
                return
            credentials = grpc.ssl_server_credentials(
                [(tls.server_key, tls.server_cert)], tls.custom_ca, tls.client_verify
            )
            self._server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise StartupError(f"can't listen on {address}; choose another one with --{flag}. {error}") from error


def _addresses(flags: Flags) -> list[str]:
    addresses = [f"unix:{flags.grpc_socket_path}"] if flags.grpc_socket_path else []
    if flags.port:
        host = f"[{flags.bind_address}]" if ":" in flags.bind_address else flags.bind_address
        addresses.append(f"{host}:{flags.port}")
    return addresses


def _server_options(flags: Flags) -> list[tuple[str, int | str]]:
    """gRPC's own options: ours, then those of --grpc_channel_arguments; a whole number is passed as one."""
    options: list[tuple[str, int | str]] = [
        ("grpc.max_send_message_length", _INT32_MAX),
        ("grpc.max_receive_message_length", _INT32_MAX),
        ("grpc.so_reuseport", 0),
        grpc_messages.OPTION,
    ]
    text = flags.grpc_channel_arguments
    for part in filter(None, text.split(",")):
        key, given, value = part.partition("=")
        if not given:
            raise StartupError(f"--grpc_channel_arguments={text}: expected key=value, not {part!r}.")
        options.append((key, int(value) if value.lstrip("-").isdecimal() else value))
    return options

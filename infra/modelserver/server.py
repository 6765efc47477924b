"""Putting the parts together, opening the ports, and stopping."""

import asyncio
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import grpc
import uvicorn
import uvloop
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from infra.modelserver import settings_files
from infra.modelserver.errors import ServingError, StartupError
from infra.modelserver.flags import Flags
from infra.modelserver.grpc_services import GrpcOptions, ModelService, PredictionService
from infra.modelserver.inference import warmup
from infra.modelserver.lifecycle.manager import Manager, ManagerOptions
from infra.modelserver.lifecycle.reload import Reloader
from infra.modelserver.lifecycle.source import FileSystemSource
from infra.modelserver.lifecycle.states import StateMonitor
from infra.modelserver.limits import CallLimits
from infra.modelserver.metrics import Metrics
from infra.modelserver.rest.app import RestOptions, make_app
from infra.modelserver.rest.browsers import is_loopback
from infra.modelserver.rest.dispatch import Dispatcher
from infra.modelserver.rest.protocol import RestProtocol
from infra.modelserver.runtime import c_api
from infra.modelserver.runtime.batching import Batcher, BatchScheduler
from infra.modelserver.runtime.servable import LoadOptions, Servable
from tasks.wire.protos import ConfigProto, add_ModelServiceServicer_to_server, add_PredictionServiceServicer_to_server

log = logging.getLogger(__name__)

_INT32_MAX = 2**31 - 1
_GRACE_SECONDS = 10.0
_BUSY_MODELS = 8  # that may hold all their calls at once and still leave threads to others


@dataclass(frozen=True, slots=True)
class Settings:
    """The flags, with the files that they point at read and checked."""

    flags: Flags
    models: Any
    session_config: bytes
    monitoring_path: str | None
    tls: settings_files.TlsFiles | None
    batching: settings_files.BatchingParameters | None


def read_settings(flags: Flags) -> Settings:
    """Read every file that the flags name. Raises StartupError."""
    if flags.model_config_file:
        models = settings_files.model_config(flags.model_config_file)
    else:
        models = settings_files.single_model_config(flags.model_name, flags.model_base_path)
    return Settings(
        flags,
        models,
        _session_config(flags),
        settings_files.monitoring_path(flags.monitoring_config_file) if flags.monitoring_config_file else None,
        settings_files.tls(flags.ssl_config_file) if flags.ssl_config_file else None,
        settings_files.batching(flags.batching_parameters_file) if flags.enable_batching else None,
    )


def _session_config(flags: Flags) -> bytes:
    config = (
        settings_files.session_config(flags.tensorflow_session_config_file)
        if flags.tensorflow_session_config_file
        else ConfigProto()
    )
    intra = flags.tensorflow_intra_op_parallelism or flags.tensorflow_session_parallelism
    inter = flags.tensorflow_inter_op_parallelism or flags.tensorflow_session_parallelism
    if intra > 0:
        config.intra_op_parallelism_threads = intra
    if inter > 0:
        config.inter_op_parallelism_threads = inter
    # Runs that take long stay in threads of their own model's session, and so cannot hold those of others.
    config.use_per_session_threads = True
    serialized: bytes = config.SerializeToString()
    return serialized


def bind(address: str, port: int, flag: str) -> socket.socket:
    """A bound socket that does not listen yet. Raises StartupError where the port can't be had."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((address, port))
    except OSError as error:
        bound.close()
        raise StartupError(
            f"can't listen on {address}:{port} ({os.strerror(error.errno or 0)}); choose another port with --{flag}."
        ) from error
    return bound


class ModelServer:
    """The server: made of settings, then started, then stopped."""

    def __init__(self, settings: Settings) -> None:
        self._settings, flags = settings, settings.flags
        self.metrics = Metrics()
        self.monitor = StateMonitor()
        self._stopping = threading.Event()
        options = ManagerOptions(
            flags.max_num_load_retries, flags.load_retry_interval_micros / 1e6, max(1, flags.num_load_threads)
        )
        self.manager = Manager(self._load, self.monitor, options)
        self._source = FileSystemSource(self.manager.set_wanted, flags.file_system_poll_wait_seconds)
        self.reloader = Reloader(
            self.manager,
            self._source,
            self.monitor,
            allow_labels_for_unavailable=flags.allow_version_labels_for_unavailable_models,
        )
        self._load_options = LoadOptions(
            tuple(tag for tag in flags.saved_model_tags.split(",") if tag),
            settings.session_config,
            flags.enable_signature_method_name_check,
        )
        self._schedulers: dict[str, BatchScheduler] = {}  # of each model
        self._schedulers_lock = threading.Lock()
        self._grpc: Any = None
        self._rest: uvicorn.Server | None = None
        self._dispatcher = Dispatcher(flags.rest_api_num_threads, self.manager.serves)

    def run(self) -> None:
        """Load all models, open the ports, serve until SIGTERM or SIGINT. Raises StartupError."""
        flags = self._settings.flags
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stopping.set())
        rest_socket = bind(flags.bind_address, flags.rest_api_port, "rest_api_port") if flags.rest_api_port else None
        if flags.port:
            bind(flags.bind_address, flags.port, "port").close()
        c_api.load()
        log.info("TensorFlow %s; loading models", c_api.version())
        try:
            self.reloader.apply(self._settings.models, cancelled=self._stopping.is_set)
        except ServingError as error:
            if self._stopping.is_set():
                return
            raise StartupError(f"the models did not load: {error}") from error
        if flags.model_config_file and flags.model_config_file_poll_wait_seconds > 0:
            threading.Thread(target=self._poll_config, name="config-poll", daemon=True).start()
        self._start_grpc()
        rest = self._start_rest(rest_socket) if rest_socket else None
        self._stopping.wait()
        self._stop(rest)

    def _load(self, name: str, version: int, path: str) -> Servable:
        start = time.perf_counter()
        failed = True
        try:
            servable = Servable(name, version, path, self._load_options, self.metrics)
            failed = False
        finally:
            self.metrics.record_load(path, time.perf_counter() - start, failed=failed)
        flags, parameters = self._settings.flags, self._settings.batching
        if parameters is not None:
            with self._schedulers_lock:
                if name not in self._schedulers:
                    self._schedulers[name] = BatchScheduler(parameters, self.metrics)
                scheduler = self._schedulers[name]
            servable.merge_runs(lambda session: Batcher(session, name, scheduler))
        if flags.enable_model_warmup:
            try:
                warmup.replay(servable, max(1, flags.num_request_iterations_for_warmup))
            except BaseException:
                servable.close()
                raise
        return servable

    def _poll_config(self) -> None:
        """Apply the config file again and again, changed or not; a broken one is logged, and the old one stays."""
        flags, complaint = self._settings.flags, ""
        while not self._stopping.wait(flags.model_config_file_poll_wait_seconds):
            try:
                config = settings_files.model_config(flags.model_config_file)
                self.reloader.apply(config, cancelled=self._stopping.is_set)
                complaint = ""
            except (ServingError, StartupError) as error:
                if str(error) != complaint:
                    log.error("the config file was not taken, the old config stays: %s", error)
                complaint = str(error)

    def _start_grpc(self) -> None:
        flags = self._settings.flags
        options: list[tuple[str, Any]] = [
            ("grpc.max_send_message_length", _INT32_MAX),
            ("grpc.max_receive_message_length", _INT32_MAX),
            ("grpc.so_reuseport", 0),
            *_channel_arguments(flags.grpc_channel_arguments),
        ]
        limits = CallLimits(flags.grpc_max_threads)
        most = _BUSY_MODELS * limits.most
        pool = ThreadPoolExecutor(max_workers=most, thread_name_prefix="grpc")  # it starts those that it needs
        server = grpc.server(pool, options=options, maximum_concurrent_rpcs=most)
        grpc_options = GrpcOptions(
            flags.enable_serialization_as_tensor_content, flags.enforce_session_run_timeout, flags.log_requests
        )
        service = PredictionService(self.manager, self.metrics, limits, grpc_options)
        add_PredictionServiceServicer_to_server(service, server)
        add_ModelServiceServicer_to_server(ModelService(self.manager, self.reloader), server)
        if flags.enable_grpc_healthcheck_service:
            servicer = health.HealthServicer()
            servicer.set("", health_pb2.HealthCheckResponse.SERVING)
            health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
        addresses = [f"unix:{flags.grpc_socket_path}"] if flags.grpc_socket_path else []
        if flags.port:
            host = f"[{flags.bind_address}]" if ":" in flags.bind_address else flags.bind_address
            addresses.append(f"{host}:{flags.port}")
        for address in addresses:
            self._add_port(server, address)
        server.start()
        self._grpc = server
        log.info("gRPC at %s", ", ".join(addresses))

    def _add_port(self, server: Any, address: str) -> None:
        tls = self._settings.tls
        flag = "grpc_socket_path" if address.startswith("unix:") else "port"
        try:
            if tls is None:
                server.add_insecure_port(address)
                return
            credentials = grpc.ssl_server_credentials(
                [(tls.server_key, tls.server_cert)], tls.custom_ca, tls.client_verify
            )
            server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise StartupError(f"can't listen on {address}; choose another one with --{flag}. {error}") from error

    def _start_rest(self, rest_socket: socket.socket) -> threading.Thread:
        flags = self._settings.flags
        app = make_app(
            self.manager,
            RestOptions(
                self._dispatcher,
                self.metrics,
                flags.rest_api_timeout_in_ms / 1000,
                self._settings.monitoring_path,
                flags.rest_api_enable_cors_support,
                flags.log_requests,
                refuse_pages=is_loopback(flags.bind_address) and not flags.rest_api_enable_cors_support,
            ),
        )
        self._rest = uvicorn.Server(
            uvicorn.Config(
                app,
                loop="none",
                http=RestProtocol,
                ws="none",
                lifespan="off",
                interface="asgi3",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                timeout_keep_alive=75,
                timeout_graceful_shutdown=int(_GRACE_SECONDS),
            )
        )
        rest_socket.listen(2048)
        thread = threading.Thread(target=self._serve_rest, args=(self._rest, [rest_socket]), name="rest", daemon=True)
        thread.start()
        log.info("REST at %s:%d", flags.bind_address, flags.rest_api_port)
        return thread

    def _serve_rest(self, server: uvicorn.Server, sockets: Sequence[socket.socket]) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(server.serve(sockets=list(sockets)))

    def _stop(self, rest: threading.Thread | None) -> None:
        log.info("stopping")
        self._source.stop()
        if self._rest is not None:
            self._rest.should_exit = True
        stopped = self._grpc.stop(_GRACE_SECONDS)
        if rest is not None:
            rest.join(_GRACE_SECONDS)
        stopped.wait(_GRACE_SECONDS)
        self._dispatcher.close()


def _channel_arguments(text: str) -> list[tuple[str, int | str]]:
    """The gRPC server options in "key=value,key=value"; a whole number is passed as one."""
    options: list[tuple[str, int | str]] = []
    for part in filter(None, text.split(",")):
        key, given, value = part.partition("=")
        if not given:
            raise StartupError(f"--grpc_channel_arguments={text}: expected key=value, not {part!r}.")
        options.append((key, int(value) if value.lstrip("-").isdecimal() else value))
    return options

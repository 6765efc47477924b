"""The command line: tensorflow_model_server's own flags, with its meanings and defaults."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from infra.modelserver.errors import StartupError


@dataclass(frozen=True, slots=True)
class Flags:
    """What the command line says. Names and defaults are tensorflow_model_server's, except for the last three."""

    port: int = 8500
    grpc_socket_path: str = ""
    rest_api_port: int = 0
    rest_api_num_threads: int = 4 * (os.cpu_count() or 1)
    rest_api_timeout_in_ms: int = 30000
    rest_api_enable_cors_support: bool = False
    enable_batching: bool = False
    allow_version_labels_for_unavailable_models: bool = False
    batching_parameters_file: str = ""
    model_config_file: str = ""
    model_config_file_poll_wait_seconds: int = 0
    model_name: str = "default"
    model_base_path: str = ""
    num_load_threads: int = 0
    num_unload_threads: int = 0
    max_num_load_retries: int = 5
    load_retry_interval_micros: int = 60_000_000
    file_system_poll_wait_seconds: int = 1
    flush_filesystem_caches: bool = True
    tensorflow_session_parallelism: int = 0
    tensorflow_session_config_file: str = ""
    tensorflow_intra_op_parallelism: int = 0
    tensorflow_inter_op_parallelism: int = 0
    ssl_config_file: str = ""
    saved_model_tags: str = "serve"
    grpc_channel_arguments: str = ""
    grpc_max_threads: int = 4 * (os.cpu_count() or 1)
    enable_model_warmup: bool = True
    num_request_iterations_for_warmup: int = 0
    version: bool = False
    monitoring_config_file: str = ""
    enable_signature_method_name_check: bool = False
    enable_grpc_healthcheck_service: bool = False
    enable_serialization_as_tensor_content: bool = False
    enforce_session_run_timeout: bool = True
    # Slipway's own
    bind_address: str = "127.0.0.1"
    log_requests: bool = False
    help: bool = False


# Flags of tensorflow_model_server that are accepted and ignored, by type.
_IGNORED: dict[str, type] = {
    "enable_per_model_batching_parameters": bool,
    "enable_profiler": bool,
    "mixed_precision": str,
    "num_tflite_interpreters_per_pool": int,
    "num_tflite_pools": int,
    "per_process_gpu_memory_fraction": float,
    "platform_config_file": str,
    "prefer_tflite_model": bool,
    "remove_unused_fields_from_bundle_metagraph": bool,
    "skip_initialize_tpu": bool,
    "thread_pool_factory_config_file": str,
    "use_alts_credentials": bool,
    "use_tflite_model": bool,
    "xla_cpu_compilation_enabled": bool,
    "xla_gpu_compilation_enabled": bool,
}
_WITHOUT_EFFECT = frozenset({"flush_filesystem_caches", "num_unload_threads"})

_HELP = {
    "port": "TCP port for gRPC; 0 switches it off",
    "grpc_socket_path": "also answer gRPC on this Unix socket",
    "rest_api_port": "TCP port for REST; 0 switches it off",
    "rest_api_num_threads": "threads that run one model's REST requests",
    "rest_api_timeout_in_ms": "longest time for one REST request",
    "rest_api_enable_cors_support": "answer REST with CORS headers",
    "enable_batching": "merge requests that arrive together into one run",
    "allow_version_labels_for_unavailable_models": "let a new label point at a version that is not loaded yet",
    "batching_parameters_file": "BatchingParameters text proto",
    "model_config_file": "ModelServerConfig text proto with the models to serve",
    "model_config_file_poll_wait_seconds": "seconds between two readings of that file; 0 reads it once",
    "model_name": "name of the model at --model_base_path",
    "model_base_path": "directory of one model's version directories, without --model_config_file",
    "num_load_threads": "how many versions may load at once; 0 means one",
    "num_unload_threads": "no effect: every version is unloaded in a thread of its own",
    "max_num_load_retries": "how often a failed load is tried again",
    "load_retry_interval_micros": "microseconds between two tries",
    "file_system_poll_wait_seconds": "seconds between two looks for new versions; 0 looks once, negative never",
    "flush_filesystem_caches": "no effect",
    "tensorflow_session_parallelism": "threads of TensorFlow's pools; 0 lets it choose",
    "tensorflow_session_config_file": "TensorFlow ConfigProto text proto",
    "tensorflow_intra_op_parallelism": "threads for one op; 0 lets TensorFlow choose",
    "tensorflow_inter_op_parallelism": "ops that run at once; 0 lets TensorFlow choose",
    "ssl_config_file": "SSLConfig text proto for gRPC",
    "saved_model_tags": "comma-separated tags of the meta graph to load",
    "grpc_channel_arguments": "comma-separated key=value options of the gRPC server",
    "grpc_max_threads": "threads that run one model's gRPC calls",
    "enable_model_warmup": "replay a version's warm-up requests before it is available",
    "num_request_iterations_for_warmup": "how often each warm-up request is replayed; 0 means once",
    "version": "print the versions and exit",
    "monitoring_config_file": "MonitoringConfig text proto that switches Prometheus metrics on",
    "enable_signature_method_name_check": "refuse signatures whose method name does not fit the call",
    "enable_grpc_healthcheck_service": "answer grpc.health.v1",
    "enable_serialization_as_tensor_content": "answer Predict with tensor_content instead of float_val and the like",
    "enforce_session_run_timeout": "end a run when its gRPC call's deadline passes",
    "bind_address": "address to listen on; 0.0.0.0 opens the server, and its reload call, to the network",
    "log_requests": "log one line per request",
    "help": "print this and exit",
}


def usage() -> str:
    """Every flag with its default."""
    lines = ["usage: slipway-model-server [flags]   (the flags of tensorflow_model_server)", ""]
    for name, default in _defaults().items():
        lines.append(f"  --{name}={str(default).lower() if isinstance(default, bool) else default}")
        lines.append(f"        {_HELP[name]}")
    lines.append(f"\naccepted and ignored: {', '.join('--' + name for name in sorted(_IGNORED))}")
    return "\n".join(lines)


def parse(arguments: Sequence[str]) -> tuple[Flags, list[str]]:
    """The flags, and warnings about those that have no effect here.

    Flags are `--name=value`; a boolean needs no value; `--name value` is accepted too for a flag that needs one.

    Raises:
        StartupError: a flag is unknown, or its value is wrong.
    """
    defaults = _defaults()
    values: dict[str, Any] = {}
    ignored: dict[str, None] = {}
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument == "-h":
            argument = "--help"
        if not argument.startswith("--") or argument == "--":
            raise StartupError(f"unknown argument: {argument}. Flags look like --port=8500; --help lists them.")
        name, given, text = argument[2:].partition("=")
        if name in defaults:
            kind = type(defaults[name])
        elif name in _IGNORED:
            kind = _IGNORED[name]
        else:
            raise StartupError(f"unknown flag: --{name}. --help lists the known ones.")
        if not given and kind is not bool:
            if not rest or rest[0].startswith("--"):
                raise StartupError(f"--{name} needs a value, as in --{name}={_example(kind)}.")
            text, given = rest.pop(0), "="
        value = _value(name, kind, text if given else "true")
        if name in defaults:
            values[name] = value
        if name in _IGNORED or name in _WITHOUT_EFFECT:
            ignored[name] = None
    return replace(Flags(), **values), [f"--{name} has no effect in this server" for name in ignored]


def _defaults() -> dict[str, Any]:
    return {field.name: getattr(Flags(), field.name) for field in fields(Flags)}


def _example(kind: type) -> str:
    return {int: "1", float: "0.5"}.get(kind, "TEXT")


def _value(name: str, kind: type, text: str) -> Any:
    try:
        if kind is bool:
            return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
        if kind is int:
            number = int(text)
            if not -(2**31) <= number < 2**63:
                raise ValueError
            return number
        return kind(text)
    except (KeyError, ValueError):
        expected = {bool: "true or false", int: "a whole number", float: "a number"}[kind]
        raise StartupError(f"--{name}={text}: expected {expected}.") from None


def check(flags: Flags) -> None:
    """Check that the flags do not contradict each other.

    Raises:
        StartupError: they do, or a number is out of range.
    """
    if flags.port == 0 and not flags.grpc_socket_path:
        raise StartupError("gRPC has nothing to listen on: set --port or --grpc_socket_path.")
    for name in ("port", "rest_api_port"):
        if not 0 <= getattr(flags, name) < 65536:
            raise StartupError(f"--{name}={getattr(flags, name)}: expected a port from 0 to 65535.")
    if flags.port and flags.port == flags.rest_api_port:
        raise StartupError(f"--port and --rest_api_port are both {flags.port}; give them different ports.")
    for name in ("rest_api_num_threads", "grpc_max_threads", "rest_api_timeout_in_ms"):
        if getattr(flags, name) < 1:
            raise StartupError(f"--{name}={getattr(flags, name)}: expected at least 1.")
    if not flags.model_config_file and not flags.model_base_path:
        raise StartupError("no models: give --model_config_file, or --model_base_path with --model_name.")
    if flags.batching_parameters_file and not flags.enable_batching:
        raise StartupError(
            "--batching_parameters_file is set without --enable_batching; set it, or leave the file out."
        )
    parallelism = (flags.tensorflow_intra_op_parallelism > 0, flags.tensorflow_inter_op_parallelism > 0)
    if flags.tensorflow_session_parallelism > 0 and any(parallelism):
        raise StartupError(
            "--tensorflow_session_parallelism can't go with --tensorflow_intra_op_parallelism or "
            "--tensorflow_inter_op_parallelism; set one or the other."
        )

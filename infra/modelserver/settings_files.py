"""Reading the text protos that flags point at.

MonitoringConfig, SSLConfig and BatchingParameters are not among the messages that tensorflow-serving-api ships, so
they are declared here, with TensorFlow Serving's field names.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2

from infra.modelserver.errors import StartupError
from infra.modelserver.runtime.batching import BatchingParameters
from tasks.wire.protos import ConfigProto, ModelServerConfig

MONITORING_PATH = "/monitoring/prometheus/metrics"  # where the file gives none
_PACKAGE = "slipway.modelserver"
_Field = descriptor_pb2.FieldDescriptorProto
_INT, _TEXT, _BOOL = ".google.protobuf.Int64Value", ".google.protobuf.StringValue", ".google.protobuf.BoolValue"
_MESSAGES: dict[str, dict[str, int | str]] = {
    "PrometheusConfig": {"enable": _Field.TYPE_BOOL, "path": _Field.TYPE_STRING},
    "MonitoringConfig": {"prometheus_config": f".{_PACKAGE}.PrometheusConfig"},
    "SSLConfig": {
        "server_key": _Field.TYPE_STRING,
        "server_cert": _Field.TYPE_STRING,
        "custom_ca": _Field.TYPE_STRING,
        "client_verify": _Field.TYPE_BOOL,
    },
    "BatchingParameters": {
        "max_batch_size": _INT,
        "batch_timeout_micros": _INT,
        "max_enqueued_batches": _INT,
        "num_batch_threads": _INT,
        "thread_pool_name": _TEXT,
        "allowed_batch_sizes": _Field.TYPE_INT64,
        "pad_variable_length_inputs": _Field.TYPE_BOOL,
        "enable_large_batch_splitting": _BOOL,
        "max_execution_batch_size": _INT,
    },
}
_REPEATED = frozenset({"allowed_batch_sizes"})


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """What gRPC's TLS needs, as PEM texts."""

    server_key: bytes
    server_cert: bytes
    custom_ca: bytes | None
    client_verify: bool


@lru_cache(maxsize=1)
def _classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="slipway/modelserver.proto", package=_PACKAGE, syntax="proto3")
    file.dependency.append(wrappers_pb2.DESCRIPTOR.name)
    for name, members in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, (member, kind) in enumerate(members.items(), start=1):
            label = _Field.LABEL_REPEATED if member in _REPEATED else _Field.LABEL_OPTIONAL
            if isinstance(kind, str):
                message.field.add(name=member, number=number, label=label, type=_Field.TYPE_MESSAGE, type_name=kind)
            else:
                message.field.add(name=member, number=number, label=label, type=kind)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _MESSAGES
    }


def _parse(path: str, message: Any, flag: str) -> Any:
    try:
        text = Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise StartupError(f"--{flag}={path} can't be read: {error}.") from error
    try:
        return text_format.Parse(text, message)
    except text_format.ParseError as error:
        what = message.DESCRIPTOR.name
        raise StartupError(f"--{flag}={path} is not a {what} text proto: line {error}.") from error


def model_config(path: str) -> ModelServerConfig:
    """The ModelServerConfig in a file.

    Raises:
        StartupError: the file cannot be read, is empty, or holds something else.
    """
    config: ModelServerConfig = _parse(path, ModelServerConfig(), "model_config_file")
    if config.WhichOneof("config") is None:
        raise StartupError(
            f"--model_config_file={path} is empty: to begin without models, write `model_config_list {{}}`."
        )
    return config


def single_model_config(name: str, base_path: str) -> ModelServerConfig:
    """The ModelServerConfig of one model at a base path."""
    config = ModelServerConfig()
    config.model_config_list.config.add(name=name, base_path=base_path, model_platform="tensorflow")
    return config


def session_config(path: str) -> ConfigProto:
    """The TensorFlow ConfigProto in a file.

    Raises:
        StartupError: the file cannot be read, or holds something else.
    """
    return _parse(path, ConfigProto(), "tensorflow_session_config_file")


def monitoring_path(path: str) -> str | None:
    """The path of the Prometheus page in a MonitoringConfig; None if it switches the page off.

    Raises:
        StartupError: the file cannot be read, or holds something else, or the path is not absolute.
    """
    config = _parse(path, _classes()["MonitoringConfig"](), "monitoring_config_file").prometheus_config
    if not config.enable:
        return None
    if not config.path:
        return MONITORING_PATH
    if not config.path.startswith("/"):
        raise StartupError(f"--monitoring_config_file={path}: the path {config.path!r} must begin with a slash.")
    return str(config.path)


def tls(path: str) -> TlsFiles:
    """The keys and certificates in an SSLConfig.

    Raises:
        StartupError: the file cannot be read, or holds something else, or a key or certificate is missing.
    """
    config = _parse(path, _classes()["SSLConfig"](), "ssl_config_file")
    for name in ("server_key", "server_cert"):
        if "-----BEGIN" not in getattr(config, name):
            raise StartupError(f"--ssl_config_file={path}: {name} must hold a PEM text (not the name of a file).")
    authority = config.custom_ca.encode() or None
    if config.client_verify and authority is None:
        raise StartupError(f"--ssl_config_file={path}: client_verify needs custom_ca, to verify clients against.")
    return TlsFiles(config.server_key.encode(), config.server_cert.encode(), authority, config.client_verify)


def batching(path: str) -> BatchingParameters:
    """The BatchingParameters in a file, or the defaults for an empty path.

    Raises:
        StartupError: the file cannot be read, or holds something else, or the values contradict each other.
    """
    if not path:
        return BatchingParameters()
    proto = _parse(path, _classes()["BatchingParameters"](), "batching_parameters_file")
    given: dict[str, Any] = {
        name: getattr(proto, name).value
        for name, kind in _MESSAGES["BatchingParameters"].items()
        if isinstance(kind, str) and proto.HasField(name)
    }
    if "batch_timeout_micros" in given:
        given["batch_timeout"] = given.pop("batch_timeout_micros") / 1e6
    parameters = BatchingParameters(
        **given,
        allowed_batch_sizes=tuple(proto.allowed_batch_sizes),
        pad_variable_length_inputs=proto.pad_variable_length_inputs,
    )
    _check_batching(path, parameters)
    return parameters


def _check_batching(path: str, parameters: BatchingParameters) -> None:
    def refuse(what: str) -> StartupError:
        return StartupError(f"--batching_parameters_file={path}: {what}")

    for name, least in (("max_batch_size", 1), ("batch_timeout", 0), ("max_enqueued_batches", 1)):
        if getattr(parameters, name) < least:
            raise refuse(f"{name} is {getattr(parameters, name)}; expected at least {least}.")
    if parameters.num_batch_threads < 0:
        raise refuse(f"num_batch_threads is {parameters.num_batch_threads}; expected at least 1.")
    sizes = parameters.allowed_batch_sizes
    if any(later <= earlier for earlier, later in zip((0, *sizes), sizes, strict=False)):
        raise refuse("Entries in allowed_batch_sizes must be monotonically increasing")
    if sizes and not parameters.enable_large_batch_splitting and sizes[-1] != parameters.max_batch_size:
        raise refuse(
            "The last entry in allowed_batch_sizes must match max_batch_size; "
            f"last one was {sizes[-1]}; expected {parameters.max_batch_size}"
        )

"""What the server is set up with: the flags, with the files that they name read and checked."""

from dataclasses import dataclass

from infra.modelserver import settings_files
from infra.modelserver.flags import Flags
from infra.modelserver.runtime.batching import BatchingParameters
from tasks.wire.protos import ConfigProto, ModelServerConfig


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """The flags and what their files hold.

    session_config is a serialized ConfigProto. monitoring_path is None if metrics are off, tls if gRPC is unencrypted,
    and batching if requests are not merged.
    """

    flags: Flags
    models: ModelServerConfig
    session_config: bytes
    monitoring_path: str | None
    tls: settings_files.TlsFiles | None
    batching: BatchingParameters | None


def read_config(flags: Flags) -> ServerConfig:
    """Read every file that the flags name.

    Raises:
        StartupError: a file cannot be read, or does not hold what it should.
    """
    if flags.model_config_file:
        models = settings_files.model_config(flags.model_config_file)
    else:
        models = settings_files.single_model_config(flags.model_name, flags.model_base_path)
    return ServerConfig(
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

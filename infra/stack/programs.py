"""What the local stack runs: for each program its command, environment, ports and the sign that it is ready."""

import math
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from infra.stack import probes
from infra.stack.login import PROFILE, authorization
from infra.stack.secrets import has_credentials, profile_file
from infra.stack.store_security import certificate_file
from tasks.errors import InvalidSettings
from tasks.isolation import isolated
from tasks.serving.program import model_server_command
from tasks.settings import Settings
from tasks.training.modules import WITH_TENSORFLOW

WORK_POOL = "slipway"
MONITORING = Path(__file__).with_name("monitoring.config")
MLFLOW_ARTIFACTS = "mlflow"  # prefix in the bucket
GRPC_OFFSET = 10_000  # what SeaweedFS adds to a port for its gRPC port
PYTHON = str(Path(sys.prefix, "bin", "python"))  # always this name, whether `python` or `python3.12` runs this command
OWN = (PYTHON, "-P", "-m", "slipway_entry")  # runs a module of Slipway's own


@dataclass(frozen=True)
class PortUse:
    """A port that a program listens on, and the setting that moves it."""

    port: int
    setting: str


@dataclass(frozen=True)
class Program:
    """One program of the stack."""

    name: str
    command: tuple[str, ...]
    address: str  # what a person or a client opens
    ready: Callable[[float], bool]  # is it, given its start in seconds since 1970? Quick; never raises
    environment: Mapping[str, str] = field(default_factory=dict)
    sees: tuple[str, ...] = ()  # the user's variables that it may see besides ordinary ones; `AWS_*` for several
    ports: tuple[PortUse, ...] = ()
    asks_for: str = ""  # what it asks its clients for, in words; "" if for nothing
    steady_seconds: int = 10  # ending sooner counts as failing to start: the supervisor then waits longer each time
    stop_seconds: int = 10  # between the request to stop and killing it
    after: tuple[str, ...] = ()  # programs that must be ready before it is started


def programs(settings: Settings) -> tuple[Program, ...]:
    """The stack that `settings` ask for, without what a setting places elsewhere.

    Raises:
        InvalidSettings: a program is missing, or a port cannot be used.
    """
    wanted = [
        store(settings) if settings.s3_endpoint is None else None,
        prefect_server(settings) if settings.prefect_url is None else None,
        mlflow_server(settings) if settings.mlflow_url is None else None,
        *((model_server(settings), agent(settings)) if not settings.servers_without_agents else ()),
        worker(settings),
    ]
    found = [program for program in wanted if program is not None]
    names = {program.name for program in found}
    return tuple(
        replace(
            program,
            command=_taking_over(program, settings.home),
            after=tuple(name for name in program.after if name in names),
        )
        for program in found
    )


def _taking_over(program: Program, home: Path) -> tuple[str, ...]:
    """The program's command, run by `takeover`: that frees its ports and hides variables that are not for it.

    A program without ports is the worker, which runs the user's code: it sees all of the user's environment.
    """
    if not program.ports:
        return program.command
    ports = ",".join(str(use.port) for use in program.ports)
    names = ",".join((*program.sees, *program.environment))
    return (*OWN, "infra.stack.takeover", str(home.absolute()), ports, names, *program.command)


def store(settings: Settings) -> Program:
    """The object store: all parts of SeaweedFS in one process. `secure_store` closes all of them but S3."""
    host, home = settings.host, settings.home.absolute() / "store"
    address = f"http://{host}:{settings.store_port}"
    own = "127.0.0.1" if host == "0.0.0.0" else host  # noqa: S104 - how its parts reach one another
    master, volume = f"https://{own}:{settings.store_master_port}/", f"{own}:{settings.store_volume_port}"
    ports = _store_ports(settings)
    return Program(
        name="store",
        command=(
            executable("weed"),
            "-logtostderr=true",
            f"-config_dir={home}",  # for security.toml, which closes its ports to others
            "mini",
            f"-dir={home}",
            # Every flag is given at every start: weed would remember those of its last start.
            f"-ip={own}",
            f"-ip.bind={host}",
            *(f"-{part}.port={use.port}" for part, use in ports.items()),
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            f"-s3.config={settings.credentials_file.absolute()}",
            "-s3.autoCreateBucket=false",
            "-s3.iam=false",
            f"-s3.allowedOrigins={address}",  # any web page by default
            f"-s3.localSocket={home / 's3.sock'}",  # in /tmp by default
            f"-filer.localSocket={home / 'filer.sock'}",
            "-disableHttp",  # nothing needs the HTTP of master and filer
            "-master.telemetry=false",
            "-admin.ui=false",
            "-webdav=false",
        ),
        address=address,
        # S3 answers before the master has heard from the volume server, but with errors.
        ready=lambda _: (
            probes.answers(f"{address}/healthz")
            and volume in (probes.get_text(master, {}, certificate_file(settings)) or "")
        ),
        environment={
            "GOMEMLIMIT": "512MiB",  # without it 1 GB under load; with half of it Go collects garbage all the time
            "HOME": str(home),  # or weed reads the user's ~/.seaweedfs, meant for other stores
        },
        ports=tuple(PortUse(use.port + offset, use.setting) for use in ports.values() for offset in (0, GRPC_OFFSET)),
        asks_for="its access key",
        stop_seconds=20,
    )


def _store_ports(settings: Settings) -> dict[str, PortUse]:
    """The ports of SeaweedFS's parts, but for their gRPC ports."""
    return {
        "s3": PortUse(settings.store_port, "SLIPWAY_STORE_PORT"),
        "master": PortUse(settings.store_master_port, "SLIPWAY_STORE_MASTER_PORT"),
        "volume": PortUse(settings.store_volume_port, "SLIPWAY_STORE_VOLUME_PORT"),
        "filer": PortUse(settings.store_filer_port, "SLIPWAY_STORE_FILER_PORT"),
        "admin": PortUse(settings.store_admin_port, "SLIPWAY_STORE_ADMIN_PORT"),
    }


def prefect_server(settings: Settings) -> Program:
    """Prefect's API, UI and scheduler, on SQLite."""
    home, url = settings.home.absolute() / "prefect", f"http://{settings.host}:{settings.prefect_port}"
    return Program(
        name="prefect",
        command=(
            *(*OWN, "infra.stack.prefect_server"),
            *(settings.host, str(settings.prefect_port), str(settings.login_file.absolute())),
        ),
        address=url,
        ready=lambda _: probes.answers(f"{url}/api/health"),
        environment={
            "PREFECT_HOME": str(home),
            "PREFECT_API_URL": f"{url}/api",
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{home / 'prefect.db'}",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": url,
            "PREFECT_UI_API_URL": "/api",  # relative, so that any name of the server works in a browser
        },
        sees=("PREFECT_SERVER_*", "PREFECT_UI_*", "PREFECT_LOGGING_*"),
        ports=(PortUse(settings.prefect_port, "SLIPWAY_PREFECT_PORT"),),
        asks_for="the log-in",
        steady_seconds=30,
    )


def mlflow_server(settings: Settings) -> Program:
    """MLflow's tracking server and UI: records in SQLite, artifacts in the object store."""
    home, url = settings.home.absolute() / "mlflow", f"http://{settings.host}:{settings.mlflow_port}"
    environment = {
        # Its job runner starts eight consumers of 230 MB each, for features that Slipway does not use.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    if settings.store_url is not None:
        environment["MLFLOW_S3_ENDPOINT_URL"] = settings.store_url
    if has_credentials(settings):
        environment |= {
            "AWS_SHARED_CREDENTIALS_FILE": str(profile_file(settings)),
            "AWS_CONFIG_FILE": os.devnull,  # a role in the user's file would win over these credentials
            "AWS_DEFAULT_REGION": settings.s3_region,
        }
    return Program(
        name="mlflow",
        command=(
            *(*OWN, "infra.stack.mlflow_server"),
            *(settings.host, str(settings.mlflow_port), str(settings.login_file.absolute())),
            *(f"sqlite:///{home / 'mlflow.db'}", f"s3://{settings.bucket}/{MLFLOW_ARTIFACTS}"),
        ),
        address=url,
        ready=lambda _: probes.answers(f"{url}/health"),
        environment=environment,
        sees=("MLFLOW_SERVER_*", *(() if has_credentials(settings) else ("AWS_*",))),
        ports=(PortUse(settings.mlflow_port, "SLIPWAY_MLFLOW_PORT"),),
        asks_for="the log-in",
        steady_seconds=30,
    )


def model_server(settings: Settings) -> Program:
    """The model server of this machine's replica: the embedded one or TensorFlow's, with the same flags."""
    host, rest, grpc = settings.host, settings.rest_port, settings.grpc_port
    return Program(
        name="model-server",
        command=(
            *(*OWN, "infra.stack.verify_models", str(settings.replica_models.absolute()), str(settings.replica_config)),
            "-" if settings.signing == "off" else str(settings.public_key.absolute()),
            *isolated(
                (
                    *model_server_command(settings),
                    f"--port={grpc}",
                    f"--rest_api_port={rest}",
                    f"--model_config_file={settings.replica_config}",
                    "--file_system_poll_wait_seconds=1",
                    # A version is verified before it is loaded: if it fails it will fail again, and should say so.
                    "--max_num_load_retries=0",
                    # Without it a server that finds labels in its config at start exits (tensorflow/serving#1608).
                    "--allow_version_labels_for_unavailable_models=true",
                    f"--monitoring_config_file={MONITORING}",
                ),
                read=settings.replica_files,
            ),
        ),
        address=f"http://{host}:{rest}",
        ready=lambda _: (
            probes.answers(f"http://{host}:{rest}/v1/models/any", any_status=True) and probes.open(host, grpc)
        ),
        environment={"TF_CPP_MIN_LOG_LEVEL": "1"},
        sees=("TF_*", "XLA_*", "OMP_*", "KMP_*", "CUDA_*", "NVIDIA_*"),
        ports=(PortUse(grpc, "SLIPWAY_GRPC_PORT"), PortUse(rest, "SLIPWAY_REST_PORT")),
        steady_seconds=30,
    )


def agent(settings: Settings) -> Program:
    """The agent of this machine's replica."""
    url = f"http://{settings.host}:{settings.agent_port}"
    return Program(
        name="agent",
        command=(*OWN, "infra.agent"),
        address=url,
        ready=lambda _: probes.answers(f"{url}/healthz"),
        environment=settings_environment(settings),
        sees=("SLIPWAY_*", *(() if has_credentials(settings) else ("AWS_*",))),
        ports=(PortUse(settings.agent_port, "SLIPWAY_AGENT_PORT"),),
        after=("store",),
    )


def worker(settings: Settings) -> Program:
    """The Prefect worker that runs flows as processes of this machine; it makes its work pool if there is none."""
    return Program(
        name="worker",
        command=(
            *(PYTHON, "-m", "prefect", "worker", "start"),
            *("--pool", WORK_POOL, "--type", "process", "--name", settings.replica),
        ),
        address=settings.prefect_api.removesuffix("/api"),
        ready=lambda began: probes.worker_online(
            settings.prefect_api, WORK_POOL, settings.replica, began, authorization(settings)
        ),
        environment=flow_environment(settings) | WITH_TENSORFLOW,
        steady_seconds=20,
        stop_seconds=30,  # a run that is under way undoes what it began
        after=("prefect",),
    )


def flow_environment(settings: Settings) -> dict[str, str]:
    """The environment variables of a process that runs flows."""
    profile = {"PREFECT_PROFILE": PROFILE} if settings.prefect_url is None else {}
    return (
        settings_environment(settings)
        | profile
        | {
            "PREFECT_HOME": str(settings.home.absolute() / "prefect"),
            "PREFECT_API_URL": settings.prefect_api,
            "PREFECT_LOGGING_EXTRA_LOGGERS": "tasks,flows",
            "PREFECT_CLIENT_MAX_RETRIES": str(prefect_retries(settings.prefect_deadline)),
            "MLFLOW_TRACKING_URI": settings.mlflow_uri,
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }
    )


def prefect_retries(seconds: float) -> int:
    """How many retries of a call of Prefect's client fit into `seconds`: it waits for 2, 4, 8, … seconds in between."""
    return max(0, int(math.log2(seconds + 2)) - 1)


def settings_environment(settings: Settings) -> dict[str, str]:
    """`settings` as environment variables for a process that may run in another folder; without secrets."""
    values = {name: getattr(settings, name) for name in sorted(settings.model_fields_set) if name != "s3_secret_key"}
    given = {
        f"SLIPWAY_{name.upper()}": str(value.absolute() if isinstance(value, Path) else value)
        for name, value in values.items()
        if value is not None
    }
    return given | {"SLIPWAY_HOME": str(settings.home.absolute())}


def executable(name: str) -> str:
    """The path of a program that was installed with Slipway.

    Raises:
        InvalidSettings: it is not installed.
    """
    beside = Path(PYTHON).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise InvalidSettings(f"The program {name!r} is not installed: run `make demo`, which installs what is needed.")
    return found

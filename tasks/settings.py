"""Every setting of Slipway, read from the environment in this one place (prefix `SLIPWAY_`)."""

import difflib
import functools
import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, AliasChoices, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from tasks.errors import InvalidSettings

Port = Annotated[int, Field(ge=1, le=65535)]
StorePort = Annotated[int, Field(ge=1, le=55535)]  # its gRPC port lies 10000 above
LONGEST = 30 * 86400.0  # seconds that anything may be told to take
Seconds = Annotated[float, Field(gt=0, le=LONGEST)]
Share = Annotated[float, Field(ge=0, le=1)]
RENAMED = {"SLIPWAY_WATCH": "SLIPWAY_SOAK"}  # old names of settings, which still count
SUPERVISED = "SLIPWAY_SUPERVISED"  # no setting: home of the stack that a process belongs to, set by its supervisor


@dataclass(frozen=True)
class ServerAddress:
    """Where a model server listens."""

    host: str
    grpc_port: int
    rest_port: int

    @property
    def name(self) -> str:
        """What its replica is called."""
        return f"{self.host}-{self.grpc_port}"

    @property
    def grpc_address(self) -> str:
        """Where it is asked over gRPC."""
        return f"{self.host}:{self.grpc_port}"

    @property
    def rest_url(self) -> str:
        """Where it is asked over REST."""
        return f"http://{self.host}:{self.rest_port}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The address in `HOST:GRPC_PORT:REST_PORT`.

        Raises:
            ValueError: it is not of that form.
        """
        match = re.fullmatch(r"([A-Za-z0-9._-]+):(\d{1,5}):(\d{1,5})", text)
        if match is None or not all(0 < int(port) < 65536 for port in match.groups()[1:]):
            raise ValueError(f"{text!r} is not of the form HOST:GRPC_PORT:REST_PORT, such as serving-1:8500:8501")
        return cls(match[1], int(match[2]), int(match[3]))


def _checked_api(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("it is not the URL of a Prefect API, such as http://prefect.example:4200/api")
    if "@" in parts.netloc:
        raise ValueError("it holds a password, which would appear in logs: set PREFECT_API_AUTH_STRING instead")
    # What a browser shows is the address of the UI; the API of that server lies below it.
    return text.rstrip("/") if parts.path.strip("/") else f"{parts.scheme}://{parts.netloc}/api"


def _checked_addresses(text: str) -> str:
    names = [ServerAddress.parse(address).name for address in text.split(",") if text]
    if len(set(names)) < len(names):
        raise ValueError("it names one model server twice")
    return text


def _checked_host(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", text):
        raise ValueError(
            "it must be an IPv4 address such as 127.0.0.1, or a name, without port: SeaweedFS, which the local stack "
            "keeps its objects in, does not bind to IPv6 addresses"
        )
    return text


def _is_loopback(host: str) -> bool:
    return host == "localhost" or host.startswith("127.")


class Settings(BaseSettings):
    """One machine's or one pod's view of the world; every field is an environment variable `SLIPWAY_<FIELD>`."""

    model_config = SettingsConfigDict(
        env_prefix="SLIPWAY_",
        frozen=True,
        extra="forbid",
        validate_by_name=True,
        validate_by_alias=True,
        allow_inf_nan=False,
    )

    home: Path = Field(Path(".slipway"), description="Folder of the local stack's data, logs and credentials.")
    project: Path = Field(
        Path(),
        description="Folder in which runs look for recipes and for data files with relative paths; if unset, the "
        "folder where `slipway up` ran.",
    )
    factories: str = Field(
        "",
        description="Recipes and factories that a deployment's run may name: packages, modules or functions, separated "
        "by commas; if unset, the example models (tasks.models) and what prefect.yaml names.",
    )
    data_roots: str = Field(
        "",
        description="Folders that the paths of a deployment's run may lead to, separated by commas; if unset, "
        "SLIPWAY_PROJECT and what prefect.yaml names.",
    )
    host: Annotated[str, AfterValidator(_checked_host)] = Field(
        "127.0.0.1", description="Address that every local server binds to: IPv4, or a name."
    )

    bucket: str = Field("slipway", description="Bucket that holds models, fleets and datasets.")
    s3_endpoint: str | None = Field(
        None, description="URL of the object store; the local stack's own store if unset; `aws` for AWS's own."
    )
    s3_region: str = Field("us-east-1", description="Region that requests to the object store are signed for.")
    s3_access_key: str | None = Field(
        None, description="Access key; if unset, the local stack's, or for another store boto3's own search."
    )
    s3_secret_key: SecretStr | None = Field(None, description="Secret of the access key.")

    signing: Literal["on", "off"] = Field(
        "on", description="`off`: versions are published unsigned, and served no matter who wrote them."
    )
    signing_key: Path | None = Field(
        None, description="Private key that signs published versions; made under home at first start if unset."
    )
    trusted_key: Path | None = Field(
        None, description="Public key of the only signer whose versions are served; the one under home if unset."
    )
    allowed_ops: str = Field(
        "", description="Operations that touch files or run code, but are allowed: names separated by commas."
    )
    claim_grace: Seconds = Field(
        86400.0, description="Age at which a claimed number without a version counts as abandoned, seconds."
    )

    prefect_port: Port = Field(4200, description="Prefect server and UI.")
    mlflow_port: Port = Field(5000, description="MLflow server and UI.")
    store_port: StorePort = Field(18333, description="Object store, S3 protocol; its gRPC is 10000 above.")
    store_master_port: StorePort = Field(19333, description="Object store, its master; its gRPC is 10000 above.")
    store_volume_port: StorePort = Field(18080, description="Object store, its volumes; its gRPC is 10000 above.")
    store_filer_port: StorePort = Field(18888, description="Object store, its filer; its gRPC is 10000 above.")
    store_admin_port: StorePort = Field(19646, description="Object store, upkeep; its gRPC is 10000 above.")
    grpc_port: Port = Field(8500, description="Model server, gRPC.")
    rest_port: Port = Field(8501, description="Model server, REST.")
    agent_port: Port = Field(8502, description="Replica agent, health and metrics.")

    prefect_url: Annotated[str, AfterValidator(_checked_api)] | None = Field(
        None,
        description="Prefect API, such as http://prefect.example:4200/api; the local stack's if unset.",
    )
    mlflow_url: str | None = Field(None, description="MLflow server; the local stack's if unset.")

    model_server: str = Field(
        "auto",
        description="`auto` (tensorflow_model_server on the PATH, else embedded), `embedded`, or a path to a binary.",
    )
    # Trainings of the digit classifiers that differ in their seed alone lie up to 0.012 apart, and 0.11 in one class.
    gate_tolerance: Share = Field(
        0.02, description="How much lower a new model's accuracy may be than the live version's, 0 to 1."
    )
    gate_class_tolerance: Share = Field(
        0.15, description="How much lower a new model's accuracy on one class may be than the live version's, 0 to 1."
    )
    answer_budget: Seconds = Field(
        1.0, description="Longest time a version may take for an answer to a golden example, the median, seconds."
    )
    slowdown: Annotated[float, Field(ge=1)] = Field(
        10.0,
        description="How many times as long as the live version a new one may take to answer; 20 ms is always allowed.",
    )

    soak: Annotated[float, Field(ge=0, le=LONGEST)] = Field(
        30.0,
        validation_alias=AliasChoices("SLIPWAY_SOAK", "SLIPWAY_WATCH"),
        description="How long strategy labels soaks a version on trial before stable moves to it, seconds; a "
        "version that was accepted before does not soak. Its old name SLIPWAY_WATCH still counts.",
    )

    fleet: str = Field("default", description="Fleet that releases go to.")
    replica: str = Field(
        "r1",
        description="Name of this replica in its fleet; an agent that no stack runs takes the "
        "machine's name if it is unset.",
    )
    advertise_host: str | None = Field(
        None,
        description="Name or address at which flows on other machines reach this replica's model server; if unset, "
        "SLIPWAY_HOST, or this machine's own name where that is 0.0.0.0.",
    )
    replica_hosts: str = Field(
        "",
        description="Names or addresses of the machines whose replicas flows may ask, separated by commas, as the "
        "replicas report them; if unset, any whose agent says that it is the replica.",
    )
    models_dir: Path | None = Field(
        None, description="Folder that this replica's model server reads; under home if unset."
    )
    other_models: str = Field(
        "",
        description="Folders that this replica's model server may read, too, separated by commas: of models that the "
        "fleet's config names and that are not from the store.",
    )
    replica_addresses: Annotated[str, AfterValidator(_checked_addresses)] = Field(
        "",
        description="Model servers of this fleet that have no agents, HOST:GRPC_PORT:REST_PORT separated by commas: "
        "flows converge them, and all of them read SLIPWAY_MODELS_DIR.",
    )
    quorum: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0,
        description="Share of the reporting replicas that must reach a config, above 0, up to 1; the others follow.",
    )

    start_deadline: Seconds = Field(240.0, description="Longest time for the local stack to come up, seconds.")
    load_deadline: Seconds = Field(120.0, description="Longest time for every replica to reach a config, seconds.")
    call_deadline: Seconds = Field(10.0, description="Longest time for one call to a server, seconds.")
    prefect_deadline: Seconds = Field(
        30.0, description="Longest time that each of a run's calls waits for a Prefect server that went away, seconds."
    )
    poll_interval: Seconds = Field(1.0, description="Time between two looks at the store for a new config, seconds.")

    debug: bool = Field(False, description="Whether a failed command shows its traceback.")

    @property
    def store_url(self) -> str | None:
        """URL of the object store, or None for AWS's own."""
        if self.s3_endpoint is None:
            return f"http://{self.host}:{self.store_port}"
        return None if self.s3_endpoint == "aws" else self.s3_endpoint

    @property
    def prefect_api(self) -> str:
        """URL of the Prefect API."""
        return self.prefect_url or f"http://{self.host}:{self.prefect_port}/api"

    @property
    def mlflow_uri(self) -> str:
        """URL of the MLflow server."""
        return self.mlflow_url or f"http://{self.host}:{self.mlflow_port}"

    @property
    def servers_without_agents(self) -> tuple[ServerAddress, ...]:
        """The model servers that flows converge themselves."""
        return tuple(map(ServerAddress.parse, filter(None, self.replica_addresses.split(","))))

    @property
    def nearest_server(self) -> ServerAddress:
        """The model server that this machine's commands ask."""
        here = ServerAddress(self.host, self.grpc_port, self.rest_port)
        return next(iter(self.servers_without_agents), here)

    @property
    def credentials_file(self) -> Path:
        """Where the local stack keeps its store's credentials (mode 0600)."""
        return self.home / "store" / "s3.json"

    @property
    def login_file(self) -> Path:
        """Where the local stack keeps the log-in of its web servers (mode 0600)."""
        return self.home / "login"

    @property
    def downloads(self) -> Path:
        """Where public datasets are kept once they are downloaded."""
        return self.home / "datasets"

    @property
    def private_key(self) -> Path:
        """The key that signs what is published (mode 0600)."""
        return self.signing_key or self.home / "keys" / "signing.pem"

    @property
    def public_key(self) -> Path:
        """The key that versions must be signed with before they are served."""
        return self.trusted_key or self.home / "keys" / "signing.pub"

    @property
    def allowed_operations(self) -> frozenset[str]:
        """Names of operations that touch files or run code, yet may be served."""
        return frozenset(name.strip() for name in self.allowed_ops.split(",") if name.strip())

    @property
    def replica_models(self) -> Path:
        """Folder that this replica's model server reads, absolute: TensorFlow Serving refuses relative base paths."""
        return (self.models_dir or self.home / "replicas" / self.replica / "models").absolute()

    @property
    def replica_config(self) -> Path:
        """The config that this replica's model server starts from; the agent keeps it as the fleet's newest."""
        return self.replica_models.parent / "models.config"

    @property
    def advertised(self) -> ServerAddress:
        """Where this replica's model server is reached, as its agent reports it."""
        host = socket.gethostname() if self.host == "0.0.0.0" else self.host  # noqa: S104 - it is compared with
        return ServerAddress(self.advertise_host or host, self.grpc_port, self.rest_port)

    @property
    def hosts_to_ask(self) -> frozenset[str]:
        """The machines whose replicas flows may ask; empty for any."""
        return frozenset(host.strip().lower() for host in self.replica_hosts.split(",") if host.strip())

    @property
    def agent_url(self) -> str | None:
        """Where flows ask this replica's agent who it is; None if it listens where they cannot reach it."""
        host = self.advertised.host
        return None if _is_loopback(self.host) and not _is_loopback(host) else f"http://{host}:{self.agent_port}"

    @property
    def replica_files(self) -> tuple[Path, ...]:
        """All that this replica's model server reads; the folder around both is Slipway's own only under home."""
        config = self.replica_config if self.models_dir else self.replica_models.parent
        return (self.replica_models, config, *self.other_folders)

    @property
    def other_folders(self) -> tuple[Path, ...]:
        """Where models that are not from the store may lie."""
        return tuple(map(Path, filter(None, (folder.strip() for folder in self.other_models.split(",")))))


@functools.cache
def settings() -> Settings:
    """The settings of this process.

    Raises:
        InvalidSettings: a variable has a value that its field does not take.
    """
    try:
        return Settings()
    except ValidationError as error:
        wrong = "; ".join(f"{_variable(e['loc'])}={e['input']!r}: {e['msg']}" for e in error.errors())
        raise InvalidSettings(
            f"The environment holds a setting that cannot be used: {wrong}. Correct or unset it."
        ) from None


def _variable(loc: tuple[int | str, ...]) -> str:
    """The variable that an error at `loc` is about: an old name if that is the one that was set."""
    name = "_".join(str(part) for part in loc).upper()
    name = name if name.startswith("SLIPWAY_") else f"SLIPWAY_{name}"
    old_names = (old for old, new in RENAMED.items() if new == name)
    return next((old for old in old_names if name not in os.environ and old in os.environ), name)


def unknown_variables() -> dict[str, str | None]:
    """Variables of the environment that look like settings but are not, each with the setting that may be meant."""
    prefix = "SLIPWAY_"
    known = [f"{prefix}{name.upper()}" for name in Settings.model_fields]
    accepted = {*known, *RENAMED, SUPERVISED}
    strange = sorted(name for name in os.environ if name.startswith(prefix) and name not in accepted)
    return {name: next(iter(difflib.get_close_matches(name, known, 1)), None) for name in strange}

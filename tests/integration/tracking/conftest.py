"""A real MLflow server that tracking tests share."""

import os
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator

import pytest
from mlflow import MlflowClient

from infra.stack.login import ensure_login
from infra.stack.programs import mlflow_server
from infra.stack.secrets import write_profile
from tasks.settings import Settings
from tasks.store.s3 import S3Store
from tasks.tracking.registry import Registry
from tasks.tracking.runs import Tracker
from tests.helpers.local import LocalStore, free_ports, until


class LocalMlflow:
    """A real MLflow server with the command of the local stack; its artifacts lie in a real store."""

    def __init__(self, store_settings: Settings) -> None:
        self.settings = store_settings.model_copy(update=free_ports(("mlflow_port",)))
        self.home = self.settings.home / "mlflow"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.begin()
        program = mlflow_server(self.settings)
        began = time.time()
        until(lambda: self._ended() or program.ready(began), "MLflow answers", 120)
        assert not self._ended(), (self.home / "log").read_text()[-2000:]

    def begin(self) -> None:
        """Start it without waiting."""
        self.home.mkdir(exist_ok=True)
        write_profile(self.settings)
        ensure_login(self.settings)
        program = mlflow_server(self.settings)
        with (self.home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                program.command,
                env=os.environ | program.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill(self) -> None:
        """End it, with its worker, as a power cut would."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(10)
            self._process = None

    def _ended(self) -> bool:
        return self._process is None or self._process.poll() is not None


@pytest.fixture(scope="session")
def mlflow_settings(seaweedfs: LocalStore) -> Settings:
    """Settings of a store with a bucket for MLflow's artifacts."""
    S3Store.connect(seaweedfs.settings).ensure_bucket()
    return seaweedfs.settings


@pytest.fixture(scope="session")
def local_mlflow(mlflow_settings: Settings) -> Iterator[LocalMlflow]:
    """A real MLflow server. Whoever kills it starts it again."""
    local = LocalMlflow(mlflow_settings)
    try:
        local.start()
        yield local
    finally:
        local.kill()


@pytest.fixture
def tracker(local_mlflow: LocalMlflow) -> Tracker:
    return Tracker.connect(local_mlflow.settings)


@pytest.fixture
def registry(local_mlflow: LocalMlflow) -> Registry:
    return Registry.connect(local_mlflow.settings)


@pytest.fixture
def client(local_mlflow: LocalMlflow) -> MlflowClient:
    """MLflow's own client, to look at what was kept."""
    return MlflowClient(local_mlflow.settings.mlflow_uri, local_mlflow.settings.mlflow_uri)


@pytest.fixture
def model() -> str:
    """The name of a model that no other test uses."""
    return f"MLP-{uuid.uuid4().hex[:8]}"

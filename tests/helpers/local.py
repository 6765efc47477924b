"""Real servers for tests, on free ports and in folders of their own."""

import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import requests
from requests.adapters import HTTPAdapter
from typer.testing import CliRunner
from urllib3.util import Retry

from infra.cli.main import application
from infra.stack import members
from infra.stack.environment import visible
from infra.stack.login import ensure_login
from infra.stack.programs import GRPC_OFFSET, Program, prefect_server, settings_environment, store
from infra.stack.secrets import ensure_credentials, ensure_key_pair
from infra.stack.store_security import secure_store
from tasks.settings import Settings, settings

STORE_PORTS = ("store_port", "store_master_port", "store_volume_port", "store_filer_port", "store_admin_port")
OTHER_PORTS = ("prefect_port", "mlflow_port", "grpc_port", "rest_port", "agent_port")

# What a user's shell may hold for other work. Nothing of Slipway's may follow it: no server is at these addresses, no
# store takes these keys, and there is no JAX.
OTHER_WORK = {
    "http_proxy": "http://127.0.0.1:9",
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "ALL_PROXY": "socks5://127.0.0.1:9",
    "NO_PROXY": "corp.example",
    "AWS_ACCESS_KEY_ID": "ASIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "other",
    "AWS_SESSION_TOKEN": "other",
    "AWS_PROFILE": "nowhere",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    "AWS_USE_FIPS_ENDPOINT": "true",
    "KERAS_BACKEND": "jax",
    "TF_USE_LEGACY_KERAS": "1",
}


def until(condition: Callable[[], object], what: str, seconds: float = 60.0) -> None:
    """Wait until `condition` holds; fail, naming `what`, if it does not within `seconds`."""
    began = time.monotonic()
    while not condition():
        waited = time.monotonic() - began
        assert waited < seconds, f"not within {seconds} s: {what}"
        time.sleep(min(0.5, 0.02 + waited / 20))  # what takes long is asked less often


def free_ports(names: tuple[str, ...]) -> dict[str, int]:
    """A free port for each of `names`, with the one 10000 above; neither is one that the kernel hands out."""
    found: dict[str, int] = {}
    while len(found) < len(names):
        port = random.SystemRandom().randint(10_000, 22_000)
        if port not in found.values() and _free(port) and _free(port + GRPC_OFFSET):
            found[names[len(found)]] = port
    return found


def _free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class LocalProgram:
    """One program of the local stack, in a folder of its own."""

    def __init__(self, program: Program, log: Path) -> None:
        self.log = log
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        program = self._program
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                program.command,
                env={**visible(os.environ, program.sees), **program.environment},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            until(lambda: self._ended() or program.ready(0), f"{program.name} answers", 120)
            assert not self._ended(), self.log.read_text()[-2000:]
        except BaseException:
            self.kill()
            raise

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    def stop(self) -> None:
        """Ask it to end; what it holds stays on the disk for the next start."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(15)
            except subprocess.TimeoutExpired:
                self.kill()  # its volumes wait for up to half a minute for clients that go on asking
            self._process = None

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def _ended(self) -> bool:
        return self._process is None or self._process.poll() is not None


def patient_session() -> requests.Session:
    """Asks again where a server answers 503, as Prefect's does while its SQLite is locked."""
    session = requests.Session()
    again = Retry(total=8, backoff_factor=0.2, status_forcelist=[503], allowed_methods=None)
    session.mount("http://", HTTPAdapter(max_retries=again))
    return session


class LocalStore(LocalProgram):
    """A real SeaweedFS, with the command and credentials of the local stack."""

    def __init__(self, home: Path) -> None:
        self.settings = Settings(home=home, **free_ports(STORE_PORTS))  # type: ignore[arg-type]
        super().__init__(store(self.settings), home / "store.log")

    def start(self) -> None:
        """Start it and wait until it answers."""
        ensure_credentials(self.settings)
        secure_store(self.settings)
        ensure_key_pair(self.settings)
        super().start()


class LocalPrefect(LocalProgram):
    """A real Prefect server with the command of the local stack; `settings` lead flows to it."""

    def __init__(self, home: Path, settings: Settings) -> None:
        mine = settings.model_copy(update={"home": home, **free_ports(("prefect_port",))})
        ensure_login(mine)
        super().__init__(prefect_server(mine), home / "prefect.log")
        self.environment = {"SLIPWAY_PREFECT_URL": mine.prefect_api}


class LocalStack:
    """A whole local stack of its own, driven by the command `slipway` as a user drives it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        ports = free_ports((*STORE_PORTS, *OTHER_PORTS))
        self.settings = Settings(home=home, data_roots=str(home.parent), **ports)  # type: ignore[arg-type]
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("SLIPWAY_")}
        # What a process needs in order to work with this stack.
        self.env = inherited | settings_environment(self.settings) | {"PREFECT_HOME": str(home / "user")}
        self.http = patient_session()

    def slipway(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, whatever its exit code, in a shell that was set up for other work."""
        return subprocess.run(
            [sys.executable, "-m", "infra.cli.main", *arguments],
            env=self.env | OTHER_WORK | env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=280,
        )

    def slipway_here(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """As `slipway`, in this process, which saves the seconds of its imports: for commands that run no flow."""
        with patch.dict(os.environ, self.env, clear=True):
            settings.cache_clear()
            try:
                done = CliRunner().invoke(application(arguments), arguments)
            finally:
                settings.cache_clear()
        return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)

    def up(self) -> str:
        """Start what does not run; what was printed."""
        done = self.slipway("up")
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def down(self) -> None:
        """Stop it, and prove that nothing is left."""
        done = self.slipway("down")
        assert done.returncode == 0, done.stdout + done.stderr
        assert not members.members(self.home)

    def status(self) -> dict[str, Any]:
        """What `slipway status --json` says."""
        status: dict[str, Any] = json.loads(self.slipway_here("status", "--json").stdout)
        return status

    def pids(self) -> dict[str, int]:
        """The process of each program that runs, by the program's name."""
        return {program["name"]: program["pid"] for program in self.status()["programs"] if program["pid"]}

    def end(self) -> None:
        """End whatever is left, without asking."""
        members.end(members.members(self.home), 5)

"""A real model server for tests of its REST half, and the plainest of clients."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import requests

from tests.helpers.local import free_ports, until

HERE = Path(__file__).parent


def make_rest_models(folder: Path) -> Path:
    """Write the models `kinds`, `examples` and `digits`."""
    subprocess.run([sys.executable, HERE / "rest_models.py", folder], check=True, capture_output=True)
    return folder


class RestServer:
    """`slipway-model-server` with all models of a folder, on free ports."""

    def __init__(self, models: Path, home: Path, *flags: str) -> None:
        self.port, self.grpc_port = free_ports(("rest", "grpc")).values()
        config = home / "models.config"
        entries = [
            f"config {{ name: '{base.name}' base_path: '{base}' model_platform: 'tensorflow' }}"
            for base in sorted(models.iterdir())
        ]
        config.write_text(f"model_config_list {{ {' '.join(entries)} }}")
        self.log = home / "server.log"
        self._process = subprocess.Popen(
            [
                sys.executable, "-m", "infra.modelserver", f"--port={self.grpc_port}", f"--rest_api_port={self.port}",
                f"--model_config_file={config}", *flags,
            ],
            stdout=self.log.open("wb"), stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            until(self._is_open, "the model server is open")
        except BaseException:
            self.kill()
            raise

    def _is_open(self) -> bool:
        assert self._process.poll() is None, self.log.read_text()[-3000:]
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    @property
    def url(self) -> str:
        """Where the API begins."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def is_alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def resident_bytes(self) -> int:
        """The memory that the process holds."""
        size: int = psutil.Process(self._process.pid).memory_info().rss
        return size

    def connections(self) -> int:
        """How many connections its REST port holds open."""
        every = psutil.Process(self._process.pid).net_connections("tcp")
        return sum(one.laddr.port == self.port and one.status != psutil.CONN_LISTEN for one in every)

    def stop(self) -> None:
        """Ask it to end."""
        self._process.terminate()
        self._process.wait(30)

    def kill(self) -> None:
        """End it as a power cut would."""
        if self.is_alive:
            os.kill(self._process.pid, signal.SIGKILL)
            self._process.wait(10)

    def connect(self, seconds: float = 20.0) -> socket.socket:
        """A bare connection."""
        return socket.create_connection(("127.0.0.1", self.port), seconds)

    def post(self, path: str, body: Any, **how: Any) -> requests.Response:
        """POST a body: bytes as they are, anything else as JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return requests.post(f"{self.url}{path}", data=data, timeout=30, **how)

    def predict(self, model: str, body: Any, signature: str | None = None) -> Any:
        """The reply's JSON to a predict request that must succeed."""
        named = body if signature is None else {"signature_name": signature, **body}
        response = self.post(f"/v1/models/{model}:predict", named)
        assert response.status_code == 200, response.text
        return json.loads(response.content)

    def error(self, path: str, body: Any) -> tuple[int, str]:
        """Status and text of a POST that must be refused."""
        response = self.post(path, body)
        return response.status_code, json.loads(response.content)["error"]

"""A model server with one model, run by this process for as long as it is asked."""

import contextlib
import logging
import os
import random
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import DeadlineExceeded, LoadFailed, ServingUnreachable
from tasks.isolation import isolated
from tasks.records import ReplicaReport
from tasks.serving.client import ServingClient
from tasks.serving.program import model_server_command
from tasks.settings import Settings

log = logging.getLogger(__name__)

_HOST = "127.0.0.1"
VERSION = 1  # a build has no number yet
_LAST_LINES = 3  # lines of its log
_ASIDE = re.compile(r"\s|Hint: ")  # nodes of the graph are indented
_OUT_OF_MEMORY = ("RESOURCE_EXHAUSTED", "OOM when allocating", "bad_alloc")
_TAKEN = ("can't listen on", "Address already in use", "Failed to BuildAndStart gRPC server")
_SIGNALS: Mapping[int, str] = {
    signal.SIGKILL: " (out of memory, unless somebody sent it)",
    signal.SIGABRT: " (memory ran out, or one of its operations is faulty)",
    signal.SIGSEGV: " (memory ran out, or one of its operations is faulty)",
}
_POLL = 0.1  # seconds between two questions for its state
_PORTS = range(20_000, 32_000)  # below those that a kernel hands out to connections (32768 on)
_FIRST_TO_GO = "1000"  # for the kernel's out-of-memory killer: rather this server than one that serves


class SandboxPortTaken(LoadFailed):
    """Another program took one of the sandbox's ports before it did."""


@dataclass(frozen=True)
class Sandbox:
    """A model server with one model, and what it prints."""

    model: str
    process: "subprocess.Popen[bytes]"
    client: ServingClient
    log_file: Path

    @property
    def replica(self) -> ReplicaReport:
        return ReplicaReport("sandbox", self.client.rest_url, self.client.grpc_address, 0, {})

    def await_available(self, deadline: float) -> None:
        """Wait until the model is loaded and can be asked over both protocols.

        Raises:
            LoadFailed: the server has ended.
            DeadlineExceeded: it took longer than `deadline` seconds.
        """
        end = time.monotonic() + deadline
        while time.monotonic() < end:
            self.require_alive()
            with contextlib.suppress(ServingUnreachable):
                if any(s.state == "AVAILABLE" for s in self.client.statuses(self.model)):
                    self.client.rest("GET", f"/v1/models/{self.model}")  # this port opens after the other
                    return
            time.sleep(_POLL)
        raise DeadlineExceeded(
            f"{self.model} did not load within {deadline:g} s in a sandbox. If it is that large, "
            "raise SLIPWAY_LOAD_DEADLINE."
        )

    def require_alive(self) -> None:
        """Raise unless the server runs.

        Raises:
            SandboxPortTaken: another program had one of its ports.
            LoadFailed: it has ended; carries the last lines of its log.
        """
        code = self.process.poll()
        if code is None:
            return
        ending = last_log_lines(self.log_file.read_text(errors="replace"))
        if any(sign in ending for sign in _TAKEN):
            raise SandboxPortTaken(f"{self.model}: the model server of its sandbox got no port: {ending}")
        ended = f"was ended by signal {-code}{_SIGNALS.get(-code, '')}" if code < 0 else f"ended with code {code}"
        memory = " It needs more memory than there is." if any(sign in ending for sign in _OUT_OF_MEMORY) else ""
        raise LoadFailed(
            f"{self.model}: the model server of its sandbox {ended}.{memory} The end of its log: {ending or 'empty'}"
        )


def last_log_lines(printed: str) -> str:
    """The last lines that a model server printed, joined, without hints and without continuation lines."""
    lines = [line for line in printed.splitlines() if line.strip(" },") and not _ASIDE.match(line)]
    return " ".join(" ".join(lines[-_LAST_LINES:]).split())


@contextlib.contextmanager
def serving(model: str, base: Path, settings: Settings) -> Iterator[Sandbox]:
    grpc_port, rest_port = _free_ports(2)
    command = (
        *model_server_command(settings),
        f"--port={grpc_port}",
        f"--rest_api_port={rest_port}",
        f"--model_name={model}",
        f"--model_base_path={base}",
        "--max_num_load_retries=0",
    )
    log_file = base.parent / "log"
    with log_file.open("wb") as output:
        process = subprocess.Popen(
            isolated(command, read=[base, base / str(VERSION)], end_with=os.getpid()),
            env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    client = ServingClient(f"{_HOST}:{grpc_port}", f"http://{_HOST}:{rest_port}", settings.call_deadline)
    try:
        with contextlib.suppress(OSError):
            Path(f"/proc/{process.pid}/oom_score_adj").write_text(_FIRST_TO_GO)
        yield Sandbox(model, process, client, log_file)
    finally:
        client.close()
        process.kill()
        process.wait()


def _free_ports(count: int) -> list[int]:
    ports: list[int] = []
    with contextlib.ExitStack() as held:
        # Trainings seed the process-wide generator: two of them would draw the same ports.
        for port in random.SystemRandom().sample(_PORTS, len(_PORTS)):
            if len(ports) == count:
                break
            probe = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                probe.bind((_HOST, port))
                ports.append(port)
    return ports

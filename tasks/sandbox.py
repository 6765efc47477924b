"""Trying a SavedModel before it is published: alone, in a model server of its own."""

import contextlib
import logging
import os
import random
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import stamina

from tasks import graph_ops
from tasks.errors import DeadlineExceeded, LoadFailed, NotServable, ServingUnreachable
from tasks.golden import GoldenExample
from tasks.isolation import isolated
from tasks.model_server import model_server_command
from tasks.plan import Endpoint
from tasks.records import Manifest, ReplicaReport, Training
from tasks.savedmodel import advice, require_golden
from tasks.serving import ModelServer
from tasks.session import Failure
from tasks.settings import Settings
from tasks.signing import Trust
from tasks.validate import ValidationReport, validate_version

log = logging.getLogger(__name__)

_HOST = "127.0.0.1"
_VERSION = 1  # it has no number yet
_LAST_WORDS = 3  # lines of its log
_ASIDE = re.compile(r"\s|Hint: ")  # nodes of the graph are indented
_OUT_OF_MEMORY = ("RESOURCE_EXHAUSTED", "OOM when allocating", "bad_alloc")
_TAKEN = ("can't listen on", "Address already in use", "Failed to BuildAndStart gRPC server")
_SIGNALS: Mapping[int, str] = {
    signal.SIGKILL: " (memory ran out, if nobody else did it)",
    signal.SIGABRT: " (memory ran out, or one of its operations is faulty)",
    signal.SIGSEGV: " (memory ran out, or one of its operations is faulty)",
}
_POLL = 0.1  # seconds between two questions for its state
_PORTS = range(20_000, 32_000)  # below those that a kernel hands out to connections (32768 on)
_FIRST_TO_GO = "1000"  # for the kernel's out-of-memory killer: this server, and not one that serves


class _PortTaken(LoadFailed):
    """Another program took one of the sandbox's ports before it did."""


def try_saved_model(
    model: str, directory: Path, examples: Sequence[GoldenExample], settings: Settings
) -> ValidationReport:
    """Load the SavedModel in `directory` alone, in the model server that serves, and ask it its golden examples.

    Raises:
        InvalidSavedModel: it is none.
        ForbiddenOps: its graph holds operations that touch files or run code; it was not run.
        NotServable: a signature has no golden example, fails, answers otherwise than expected, or too slowly.
        LoadFailed: it does not load, or the server dies of it; carries the server's own last words.
        DeadlineExceeded: it does not load in time.
    """
    graph_ops.require_harmless(directory, Trust.of(settings).allowed_ops)
    signatures = require_golden(directory, examples)
    manifest = Manifest(model, _VERSION, "", (), signatures, None, Training())
    with tempfile.TemporaryDirectory(prefix="slipway-sandbox-") as folder:
        base = Path(folder) / model
        base.mkdir()
        (base / str(_VERSION)).symlink_to(directory.absolute())
        report = _validated_on_free_ports(manifest, base, examples, settings)
    if not report.passed:
        raise _refusal(report)
    log.info("%s alone in a model server of its own: %s", model, report.summary())
    return report


def _validated_on_free_ports(
    manifest: Manifest, base: Path, examples: Sequence[GoldenExample], settings: Settings
) -> ValidationReport:
    for attempt in stamina.retry_context(on=_PortTaken, attempts=5):
        with attempt:
            return _validated_alone(manifest, base, examples, settings)
    raise AssertionError("the last attempt returns or raises")


def _validated_alone(
    manifest: Manifest, base: Path, examples: Sequence[GoldenExample], settings: Settings
) -> ValidationReport:
    with _serving(manifest.model, base, settings) as sandbox:
        sandbox.await_available(settings.load_deadline)
        try:
            return validate_version(
                manifest,
                examples,
                None,
                [sandbox.replica],
                Endpoint(manifest.model),
                deadline=settings.call_deadline,
                budget=settings.answer_budget,
            )
        finally:
            sandbox.require_alive()


def _refusal(report: ValidationReport) -> NotServable:
    first = next(check for check in report.checks if check.wrong)
    wrong = " ".join((first.wrong or "").split())
    more = f" (and {len(report.failures) - 1} more)" if len(report.failures) > 1 else ""
    return NotServable(
        f"{report.model}, tried alone in a model server: {first.protocol}, signature {first.signature!r}: "
        f"{wrong}{more}. {advice(Failure('', wrong))} Nothing was published."
    )


@dataclass(frozen=True)
class _Sandbox:
    """A model server with one model, and what it prints."""

    model: str
    process: "subprocess.Popen[bytes]"
    client: ModelServer
    log_file: Path

    @property
    def replica(self) -> ReplicaReport:
        return ReplicaReport("sandbox", self.client.rest_url, self.client.grpc_address, 0, {})

    def await_available(self, deadline: float) -> None:
        """Wait until the model is loaded and can be asked over both protocols, `deadline` seconds at most."""
        end = time.monotonic() + deadline
        while time.monotonic() < end:
            self.require_alive()
            with contextlib.suppress(ServingUnreachable):
                if any(s.state == "AVAILABLE" for s in self.client.statuses(self.model)):
                    self.client.rest("GET", f"/v1/models/{self.model}")  # this port opens after the other
                    return
            time.sleep(_POLL)
        raise DeadlineExceeded(
            f"{self.model} did not load within {deadline:g} s in a model server of its own. If it is that large, "
            "raise SLIPWAY_LOAD_DEADLINE."
        )

    def require_alive(self) -> None:
        """Do nothing where the server runs; its last words, as an error, where it has ended."""
        code = self.process.poll()
        if code is None:
            return
        words = last_words(self.log_file.read_text(errors="replace"))
        if any(sign in words for sign in _TAKEN):
            raise _PortTaken(f"{self.model}: the model server that tried it alone got no port: {words}")
        ended = f"was ended by signal {-code}{_SIGNALS.get(-code, '')}" if code < 0 else f"ended with code {code}"
        memory = " It needs more memory than there is." if any(sign in words for sign in _OUT_OF_MEMORY) else ""
        raise LoadFailed(
            f"{self.model}: the model server that tried it alone {ended}.{memory} Its last words: {words or 'none'}"
        )


def last_words(printed: str) -> str:
    """The last lines of what a model server printed, as one, without hints and what belongs to lines before."""
    lines = [line for line in printed.splitlines() if line.strip(" },") and not _ASIDE.match(line)]
    return " ".join(" ".join(lines[-_LAST_WORDS:]).split())


@contextlib.contextmanager
def _serving(model: str, base: Path, settings: Settings) -> Iterator[_Sandbox]:
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
            isolated(command, read=[base, base / str(_VERSION)], end_with=os.getpid()),
            env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    client = ModelServer(f"{_HOST}:{grpc_port}", f"http://{_HOST}:{rest_port}", settings.call_deadline)
    try:
        with contextlib.suppress(OSError):
            Path(f"/proc/{process.pid}/oom_score_adj").write_text(_FIRST_TO_GO)
        yield _Sandbox(model, process, client, log_file)
    finally:
        client.close()
        process.kill()
        process.wait()


def _free_ports(count: int) -> list[int]:
    ports: list[int] = []
    with contextlib.ExitStack() as held:
        # Trainings seed the generator that all of a process share: two of them would draw the same ports.
        for port in random.SystemRandom().sample(_PORTS, len(_PORTS)):
            if len(ports) == count:
                break
            probe = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                probe.bind((_HOST, port))
                ports.append(port)
    return ports

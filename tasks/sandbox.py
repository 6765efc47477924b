"""Trying a version before it is published: alone, in a model server of its own."""

import contextlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import DeadlineExceeded, InvalidSettings, LoadFailed, ServingUnreachable
from tasks.golden import GoldenExample
from tasks.plan import Endpoint
from tasks.records import Manifest, ReplicaReport
from tasks.serving import ModelServer
from tasks.settings import Settings
from tasks.validate import ValidationReport, validate_version

EMBEDDED = (str(Path(sys.prefix, "bin", "python")), "-m", "infra.modelserver")
_HOST = "127.0.0.1"
_POLL = 0.1  # seconds between two questions for its state


def model_server_command(settings: Settings) -> tuple[str, ...]:
    """The model server that `settings.model_server` chooses, without flags.

    Raises:
        InvalidSettings: it names a binary that is not there, or cannot be run.
    """
    choice = settings.model_server
    if choice == "auto":
        found = shutil.which("tensorflow_model_server")
        return (found,) if found else EMBEDDED
    if choice == "embedded":
        return EMBEDDED
    found = shutil.which(Path(choice).expanduser())
    if found is None:
        raise InvalidSettings(
            f"SLIPWAY_MODEL_SERVER={choice!r} is no program that can be run: give the path of a "
            "tensorflow_model_server, or `embedded`, or `auto`."
        )
    return (str(Path(found).absolute()),)


def try_version(
    directory: Path, manifest: Manifest, examples: Sequence[GoldenExample], settings: Settings
) -> ValidationReport:
    """Load the SavedModel in `directory` alone, in the model server that serves, and ask it its golden examples.

    Args:
        manifest: what the version will say of itself; its number is not used.

    Raises:
        LoadFailed: it does not load, or the server dies of it; carries the server's own last words.
        DeadlineExceeded: it does not load in time.
    """
    with tempfile.TemporaryDirectory(prefix="slipway-sandbox-") as folder:
        base, log_file = Path(folder) / manifest.model, Path(folder) / "log"
        base.mkdir()
        (base / str(manifest.version)).symlink_to(directory.absolute())
        with _server(manifest, base, log_file, settings) as sandbox:
            _await_available(sandbox, manifest, settings.load_deadline, log_file)
            replica = ReplicaReport("sandbox", sandbox.client.rest_url, sandbox.client.grpc_address, 0, {})
            endpoint = Endpoint(manifest.model)
            return validate_version(manifest, examples, None, [replica], endpoint, deadline=settings.call_deadline)


@contextlib.contextmanager
def _server(manifest: Manifest, base: Path, log_file: Path, settings: Settings) -> Iterator["_Sandbox"]:
    grpc_port, rest_port = _free_ports(2)
    command = [
        *model_server_command(settings),
        f"--port={grpc_port}",
        f"--rest_api_port={rest_port}",
        f"--model_name={manifest.model}",
        f"--model_base_path={base}",
        "--max_num_load_retries=0",
    ]
    with log_file.open("wb") as log_output:
        process = subprocess.Popen(command, stdout=log_output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    client = ModelServer(f"{_HOST}:{grpc_port}", f"http://{_HOST}:{rest_port}", settings.call_deadline)
    try:
        yield _Sandbox(process, client)
    finally:
        client.close()
        process.kill()
        process.wait()


@dataclass(frozen=True)
class _Sandbox:
    process: "subprocess.Popen[bytes]"
    client: ModelServer


def _await_available(sandbox: _Sandbox, manifest: Manifest, deadline: float, log_file: Path) -> None:
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        if sandbox.process.poll() is not None:
            words = log_file.read_text(errors="replace").strip().splitlines()
            raise LoadFailed(
                f"{manifest.model}: the model server that tried it alone ended with code {sandbox.process.returncode}. "
                f"Its last words: {words[-1] if words else 'none'}"
            )
        with contextlib.suppress(ServingUnreachable):
            if any(s.state == "AVAILABLE" for s in sandbox.client.statuses(manifest.model)):
                return
        time.sleep(_POLL)
    raise DeadlineExceeded(f"{manifest.model} did not load within {deadline:g} s in a model server of its own.")


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((_HOST, 0))
        return [int(probe.getsockname()[1]) for probe in probes]

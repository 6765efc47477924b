"""Publishers and fetchers in processes of their own, which may die as by kill -9 at any step that the world can see."""

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path

import model_signing.signing
import model_signing.verifying  # noqa: F401

from tasks.records import Training
from tasks.settings import Settings
from tasks.store.connect import connect
from tasks.versions.fetch import fetch_version
from tasks.versions.signing import Trust
from tests.helpers.forkserver import context
from tests.helpers.versions import publish_version

DISK_STEPS = {"os.mkdir", "os.rename", "os.truncate", "fcntl.flock", "shutil.rmtree", "os.remove", "os.rmdir"}


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    killed: bool
    steps: int  # that it saw; 0 where it was killed
    version: int
    error: str
    grown: int  # bytes that its memory grew at its peak


class Process:
    """One call in a process of its own."""

    def __init__(self, target: Callable[..., int], *arguments: object, die_at: int = 0) -> None:
        self._answers, answers = context().Pipe(duplex=False)
        self._process = context().Process(target=_run, args=(target, arguments, die_at, answers))
        self._process.start()
        answers.close()

    @property
    def runs(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.is_alive()

    def end(self, seconds: float = 120) -> Ended:
        """Wait until it has ended, and tell how."""
        self._process.join(seconds)
        assert self._process.exitcode is not None, f"still running after {seconds} s"
        if self._process.exitcode == -signal.SIGKILL:
            return Ended(killed=True, steps=0, version=0, error="", grown=0)
        return Ended(False, *self._answers.recv())


def publish(settings: Settings, model: str, directory: Path, start: Barrier | None = None) -> int:
    """Publish `directory`, when all who wait at `start` are there; the version."""
    store = connect(settings)
    if start is not None:
        start.wait(60)
    return publish_version(
        store,
        Trust.of(settings),
        model,
        directory,
        signatures={},
        golden=None,
        training=Training(),
        run=f"process {os.getpid()}",
    ).version


def fetch(settings: Settings, model: str, models_dir: Path, start: Barrier | None = None) -> int:
    """Fetch version 1 into `models_dir`."""
    store = connect(settings)
    if start is not None:
        start.wait(60)
    return int(fetch_version(store, Trust.of(settings), model, 1, models_dir).name)


def barrier(parties: int) -> Barrier:
    """Where processes wait for one another."""
    return context().Barrier(parties)


_steps = 0
_die_at = 0


def _run(target: Callable[..., int], arguments: tuple[object, ...], die_at: int, answers: object) -> None:
    global _die_at
    _die_at = die_at
    sys.addaudithook(lambda event, of: _step() if is_step(event, of, target is fetch) else None)
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    before, version, error = _memory("VmRSS"), 0, ""
    try:
        version = target(*arguments)
        _step()  # the answer to its last request is there, and nobody was told
    except Exception as caught:  # noqa: BLE001 - told to the test
        error = f"{type(caught).__name__}: {caught}"
    answers.send((_steps, version, error, _memory("VmHWM") - before))  # type: ignore[attr-defined]


def is_step(event: str, of: tuple[object, ...], disk: bool) -> bool:
    """Whether an audit event is a step that the world sees: the head of a request, or a change on the disk."""
    if event == "http.client.send":
        return isinstance(of[1], bytes) and of[1].startswith((b"GET ", b"PUT ", b"POST ", b"DELETE "))
    return disk and event in DISK_STEPS


def _step() -> None:
    global _steps
    _steps += 1
    if _steps == _die_at:
        os.kill(os.getpid(), signal.SIGKILL)


def _memory(line: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(text.split()[1]) * 1024 for text in lines if text.startswith(line))

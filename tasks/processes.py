"""Which process wrote a record or made a folder, and whether it still runs."""

import os
import re
import shutil
import socket
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ProcessRef:
    """A process on a machine; the start time distinguishes it from a later one with the same number."""

    host: str
    pid: int
    started: int  # clock ticks after the machine's boot
    boot: str  # identity of the machine's boot


def this_process() -> ProcessRef:
    """The process that calls this."""
    return ProcessRef(socket.gethostname(), os.getpid(), _started(os.getpid()) or 0, _boot())


def is_gone(process: ProcessRef) -> bool:
    """Whether the process is known to have ended; False if it ran on another machine, which cannot be asked."""
    if process.host != socket.gethostname():
        return False
    return process.boot != _boot() or _started(process.pid) != process.started


@contextmanager
def temporary_folder(what: str) -> Iterator[Path]:
    """A folder that is removed afterwards; if this process is killed meanwhile, by `clear_temporary`."""
    with tempfile.TemporaryDirectory(prefix=_prefix(what)) as folder:
        yield Path(folder)


class LastingFolder:
    """A temporary folder that is removed once this object is gone, at the latest as the process ends."""

    def __init__(self, what: str) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=_prefix(what)))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


def clear_temporary() -> None:
    """Remove the temporary folders of processes that have ended."""
    for folder in Path(tempfile.gettempdir()).glob("slipway-*"):
        named = re.fullmatch(r"slipway-[a-z]+-(\d+)-(\d+)-(\d+)-.*", folder.name)
        # In another container with this folder, numbers are those of other processes.
        if named and int(named[1]) == _namespace() and _started(int(named[2])) != int(named[3]):
            shutil.rmtree(folder, ignore_errors=True)


def _prefix(what: str) -> str:
    me = os.getpid()
    return f"slipway-{what}-{_namespace()}-{me}-{_started(me)}-"


def _namespace() -> int:
    return Path("/proc/self/ns/pid").stat().st_ino


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _started(pid: int) -> int | None:
    """Start time of a process (field 22 of /proc/PID/stat), None if it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The second field is the command in brackets, which may itself hold blanks and brackets.
    state, *rest = stat.rpartition(")")[2].split()
    return None if state == "Z" else int(rest[18])

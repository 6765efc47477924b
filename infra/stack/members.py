"""Processes of the stack, found by an environment variable that all of them inherit; even if the supervisor is gone."""

import contextlib
import pwd
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from tasks.settings import SUPERVISED

_RUN = frozenset({"prefect.engine", "prefect.flow_engine"})  # the modules with which Prefect runs a flow
_KILL_SECONDS = 5.0  # a killed process that is still there by then hangs in the kernel
_LISTENS = "0A"  # the kernel's name of a socket's state


@dataclass(frozen=True)
class Listener:
    """A program that listens on a port."""

    user: str
    program: str | None = None  # None: another user's, about which nothing more can be seen
    pid: int | None = None
    home: Path | None = None  # of the stack that it belongs to, or, if another user's, may belong to


def members(home: Path) -> list[psutil.Process]:
    """All living processes of the stack in `home`: the supervisor, its programs and what they started."""
    return [process for process in psutil.process_iter() if _belongs(process, str(home.absolute()))]


def runs(home: Path) -> list[psutil.Process]:
    """The processes of flow runs that the stack's worker started."""
    return [process for process in members(home) if _RUN.intersection(_command(process))]


def orphans(home: Path, supervisor: int) -> list[psutil.Process]:
    """Processes of the stack that are neither the process `supervisor` nor descend from it."""
    return [
        process
        for process in members(home)
        if process.pid != supervisor and supervisor not in (parent.pid for parent in _parents(process))
    ]


def left_listening(home: Path, supervisor: int, ports: Collection[int]) -> bool:
    """Whether a process that a killed program left behind listens on any of `ports`."""
    return any(listening([process]).intersection(ports) for process in orphans(home, supervisor))


def end(processes: Iterable[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Ask processes to end, and kill those that have not after `seconds`; those that could not even be killed."""
    asked = list(processes)
    for process in asked:
        _signal(process, "terminate")
    alive = _still_alive(asked, seconds)
    for process in alive:
        _signal(process, "kill")
    return _still_alive(alive, _KILL_SECONDS)


def _still_alive(asked: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Which of `asked` are still alive after up to `seconds`; a zombie is not."""
    deadline = time.monotonic() + seconds
    while alive := [process for process in asked if _alive(process)]:
        if time.monotonic() > deadline:
            break
        time.sleep(0.05)
    return alive


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def memory(pid: int, with_children: bool = True) -> int:
    """Memory in bytes of a process and all its descendants; shared pages are divided among those that share them."""
    try:
        root = psutil.Process(pid)
        return sum(_memory(process) for process in (root, *(root.children(recursive=True) if with_children else ())))
    except psutil.Error:
        return 0


def listening(processes: Iterable[psutil.Process]) -> set[int]:
    """The TCP ports that any of `processes` listens on."""
    found: set[int] = set()
    for process in processes:
        try:
            connections = process.net_connections(kind="tcp")
        except psutil.Error:
            continue
        found |= {connection.laddr.port for connection in connections if connection.status == psutil.CONN_LISTEN}
    return found


def is_listened_on(port: int) -> bool:
    """Whether any program on this machine, of any user, listens on a TCP port."""
    return _listening_user(port) is not None


def listener(port: int) -> Listener | None:
    """Who listens on a TCP port, as far as this user may know; None if nobody does."""
    for process in psutil.process_iter():
        if port in listening([process]):
            home = _variable(process, SUPERVISED)
            return Listener(process.username(), process.name(), process.pid, Path(home) if home else None)
    user = _listening_user(port)
    homes = [home for home, owner in stacks().items() if owner == user]
    return Listener(user, home=homes[0] if len(homes) == 1 else None) if user else None


def stacks() -> dict[Path, str]:
    """The homes of all stacks whose supervisor runs on this machine, each with its user's name."""
    found = {}
    for process in psutil.process_iter():
        *_, module, option, config = ["", "", "", *_command(process)]
        if (module, option) == ("supervisor.supervisord", "-c"):
            with contextlib.suppress(psutil.Error):
                found[Path(config).parent] = process.username()
    return found


def _listening_user(port: int) -> str | None:
    """The user whose program listens on a TCP port; the kernel lists those of all users (proc(5), /proc/net/tcp)."""
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError), Path("/proc/net", table).open() as lines:
            for fields in map(str.split, list(lines)[1:]):
                if fields[3] == _LISTENS and int(fields[1].rpartition(":")[2], 16) == port:
                    with contextlib.suppress(KeyError):
                        return pwd.getpwuid(int(fields[7])).pw_name
                    return fields[7]
    return None


def _memory(process: psutil.Process) -> int:
    try:
        full = process.memory_full_info()
        return int(getattr(full, "pss", full.uss))
    except psutil.Error:
        return 0


def _belongs(process: psutil.Process, home: str) -> bool:
    return _variable(process, SUPERVISED) == home and _alive(process)


def _variable(process: psutil.Process, name: str) -> str | None:
    try:
        return process.environ().get(name)
    except psutil.Error:
        return None


def _parents(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.parents()
    except psutil.Error:
        return []


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _signal(process: psutil.Process, how: str) -> None:
    try:
        getattr(process, how)()
    except psutil.NoSuchProcess:
        return

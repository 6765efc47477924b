"""Processes of the stack, found by the mark that all of them inherit; also when the supervisor is gone."""

from collections.abc import Collection, Iterable
from pathlib import Path

import psutil

from tasks.settings import SUPERVISED


def members(home: Path) -> list[psutil.Process]:
    """All living processes of the stack in `home`: the supervisor, its programs and what they started."""
    return [process for process in psutil.process_iter() if _belongs(process, str(home.absolute()))]


def orphans(home: Path, supervisor: int) -> list[psutil.Process]:
    """Processes of the stack that are neither the process `supervisor` nor descend from it."""
    return [
        process
        for process in members(home)
        if process.pid != supervisor and supervisor not in (parent.pid for parent in _parents(process))
    ]


def left_listening(home: Path, supervisor: int, ports: Collection[int]) -> bool:
    """Whether something that a killed program left answers in its place on any of `ports`."""
    return any(listening([process]).intersection(ports) for process in orphans(home, supervisor))


def end(processes: Iterable[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Ask processes to end, and kill those that have not after `seconds`; what could not even be killed."""
    asked = list(processes)
    for process in asked:
        _signal(process, "terminate")
    _, alive = psutil.wait_procs(asked, timeout=seconds)
    for process in alive:
        _signal(process, "kill")
    return psutil.wait_procs(alive, timeout=5)[1]


def memory(pid: int, with_children: bool = True) -> int:
    """Memory in bytes of a process and all that it started; shared pages are divided among those who share them."""
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


def listener(port: int) -> str:
    """Who listens on a TCP port, in words, as far as it can be seen."""
    for process in psutil.process_iter():
        if port in listening([process]):
            return f"{process.name()} (process {process.pid})"
    return "another user's program"


def _memory(process: psutil.Process) -> int:
    try:
        full = process.memory_full_info()
        return int(getattr(full, "pss", full.uss))
    except psutil.Error:
        return 0


def _belongs(process: psutil.Process, home: str) -> bool:
    try:
        return process.environ().get(SUPERVISED) == home and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _parents(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.parents()
    except psutil.Error:
        return []


def _signal(process: psutil.Process, how: str) -> None:
    try:
        getattr(process, how)()
    except psutil.NoSuchProcess:
        return

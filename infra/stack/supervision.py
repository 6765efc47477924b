"""The supervisor of the local stack: supervisord, which restarts programs that die, and the calls to it."""

import contextlib
import http.client
import os
import shlex
import socket
import subprocess
import xmlrpc.client
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from infra.stack.members import left_listening
from infra.stack.programs import PYTHON, Program
from tasks.errors import InvalidSettings, StackError
from tasks.files import write_atomically
from tasks.settings import SUPERVISED

_CALL_SECONDS = 10.0
_SOCKET_PATH_MAX = 104  # bytes that fit into a Unix socket's address everywhere, with its terminating zero
_RESTARTS = 20  # in a row, each a second later than the one before it: three and a half minutes
_HEAD = """\
; Written by `slipway up` from the settings; changes made here are lost.
[unix_http_server]
file={socket}
chmod=0700

[supervisord]
directory={directory}
logfile={log}
logfile_maxbytes=5MB
logfile_backups=1
pidfile={pidfile}

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
"""
_PROGRAM = """
[program:{name}]
command={command}
environment={environment}
autostart=false
autorestart=true
startsecs={steady}
startretries={retries}
stopwaitsecs={stop}
stopasgroup=true
killasgroup=true
redirect_stderr=true
stdout_logfile={log}
stdout_logfile_maxbytes=10MB
stdout_logfile_backups=2
"""


@dataclass(frozen=True)
class ProcessState:
    """What the supervisor knows about one program."""

    name: str
    state: str  # STOPPED, STARTING, RUNNING, BACKOFF, STOPPING, EXITED, FATAL or UNKNOWN
    pid: int  # 0: not running
    began: int  # when it was started, seconds since 1970, by this machine's clock
    uptime: int  # seconds, 0 if not running
    ended: int = 0  # when it last ended, or was stopped, before this start; 0: never
    note: str = ""  # why it is not running, if the supervisor knows

    @property
    def alive(self) -> bool:
        """Whether it runs, or the supervisor is about to restart it."""
        return self.state in ("STARTING", "RUNNING", "BACKOFF")


@dataclass(frozen=True)
class Changes:
    """Names of the programs that were added, changed or removed in a new configuration."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]


class Supervisor:
    """The supervisor of the stack in one home folder, running or not."""

    def __init__(self, home: Path) -> None:
        self.home = home.absolute()
        self.logs = self.home / "logs"
        self._config = self.home / "supervisord.conf"
        self._socket = self.home / "supervisor.sock"
        if len(os.fsencode(self._socket)) >= _SOCKET_PATH_MAX:
            raise InvalidSettings(
                f"SLIPWAY_HOME={str(self.home)!r} is too long for the supervisor's socket: choose a folder whose "
                f"path has fewer than {_SOCKET_PATH_MAX - len('/supervisor.sock')} characters."
            )

    def answers(self) -> bool:
        """Whether a supervisor runs and answers."""
        with contextlib.suppress(StackError):
            return self.pid() > 0
        return False

    def pid(self) -> int:
        """The supervisor's process.

        Raises:
            StackError: the supervisor does not answer.
        """
        return int(self._call("getPID"))

    def log_of(self, name: str) -> Path:
        """The log of a program, or of the supervisor itself."""
        return self.logs / f"{name}.log"

    def configure(self, programs: Iterable[Program]) -> bool:
        """Write the configuration for `programs`; whether it differs from what was there.

        Raises:
            InvalidSettings: a value cannot be written in the supervisor's configuration.
        """
        text = self.rendered(programs)
        if self.configured() == text:
            return False
        write_atomically(self._config, text.encode())
        return True

    def configured(self) -> str | None:
        """The configuration as it was last written; None if it never was."""
        return self._config.read_text() if self._config.exists() else None

    def rendered(self, programs: Iterable[Program]) -> str:
        """The configuration for `programs`."""
        parts = [
            _HEAD.format(
                socket=_escaped(str(self._socket)),
                directory=_escaped(str(Path(__file__).parents[2])),
                log=_escaped(str(self.log_of("supervisor"))),
                pidfile=_escaped(str(self.home / "supervisor.pid")),
            )
        ]
        parts += [
            _PROGRAM.format(
                name=program.name,
                command=_escaped(shlex.join(program.command), quotes="'"),
                environment=",".join(f'{k}="{_escaped(v)}"' for k, v in sorted(program.environment.items())),
                steady=program.steady_seconds,
                retries=_RESTARTS,
                stop=program.stop_seconds,
                log=_escaped(str(self.log_of(program.name))),
            )
            for program in programs
        ]
        return "".join(parts)

    def launch(self, environment: Mapping[str, str]) -> None:
        """Start the supervisor in the background; it starts no program by itself.

        Raises:
            StackError: it did not come up.
        """
        self.logs.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            [PYTHON, "-P", "-m", "supervisor.supervisord", "-c", str(self._config)],
            env={**environment, SUPERVISED: str(self.home)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode != 0:
            raise StackError(
                f"The supervisor did not start: {(done.stderr or done.stdout).strip()[-500:]} "
                f"Its log: {self.log_of('supervisor')}"
            )

    def changes(self) -> Changes:
        """Have the supervisor read the configuration; how it differs from the one that it runs with.

        Raises:
            StackError: the supervisor does not answer, or cannot read it.
        """
        added, changed, removed = self._call("reloadConfig")[0]
        return Changes(tuple(added), tuple(changed), tuple(removed))

    def apply(self, changes: Changes) -> None:
        """Take a new configuration: stop programs that changed or were removed; add new ones without starting them.

        Raises:
            StackError: the supervisor does not answer.
        """
        for name in (*changes.changed, *changes.removed):
            self.stop(name)
            self._call("removeProcessGroup", name)
        for name in (*changes.changed, *changes.added):
            self._call("addProcessGroup", name)

    def states(self) -> dict[str, ProcessState]:
        """What the supervisor knows about each of its programs, by name.

        Raises:
            StackError: the supervisor does not answer.
        """
        return {
            info["name"]: ProcessState(
                name=info["name"],
                state=info["statename"],
                pid=info["pid"],
                began=info["start"],
                uptime=info["now"] - info["start"] if info["pid"] else 0,
                ended=info["stop"],
                note="" if info["pid"] else info["spawnerr"] or _last_exit(info),
            )
            for info in self._call("getAllProcessInfo")
        }

    def start(self, name: str) -> None:
        """Start a program that does not run, without waiting for it.

        Raises:
            StackError: it cannot be started.
        """
        self._call("startProcess", name, False)

    def stop(self, name: str, wait: bool = True) -> None:
        """Stop a program, and kill its process group if it takes too long. Idempotent.

        Raises:
            StackError: the supervisor does not answer.
        """
        try:
            self._call("stopProcess", name, wait, seconds=120.0)
        except _NotRunning:
            return

    def is_ready(self, program: Program, state: ProcessState) -> bool:
        """Whether `program`, in `state`, is ready: itself, and not what its predecessor left listening on its ports.

        Raises:
            StackError: the supervisor does not answer.
        """
        if not state.pid or not program.ready(state.began):
            return False
        ports = {use.port for use in program.ports}
        return not ports or not left_listening(self.home, self.pid(), ports)

    def shutdown(self) -> None:
        """Stop everything, and the supervisor itself.

        Raises:
            StackError: the supervisor does not answer.
        """
        self._call("shutdown")

    def _call(self, method: str, *arguments: object, seconds: float = _CALL_SECONDS) -> Any:
        transport = _Transport(self._socket, seconds)
        try:
            with xmlrpc.client.ServerProxy("http://supervisor/RPC2", transport=transport) as proxy:
                return getattr(proxy, f"supervisor.{method}")(*arguments)
        except xmlrpc.client.Fault as fault:
            _refuse(method, arguments, fault)
        except (OSError, http.client.HTTPException, xmlrpc.client.Error) as error:
            raise StackError(
                f"The stack's supervisor in {self.home} does not answer ({error}). Start it with `slipway up`."
            ) from error


class _NotRunning(StackError):
    """The program does not run."""


def _refuse(method: str, arguments: tuple[object, ...], fault: xmlrpc.client.Fault) -> NoReturn:
    if "NOT_RUNNING" in fault.faultString:
        raise _NotRunning(fault.faultString) from None
    raise StackError(f"The stack's supervisor refused {method}{arguments}: {fault.faultString}") from None


def _last_exit(info: Mapping[str, Any]) -> str:
    return f"ended with status {info['exitstatus']}" if info["stop"] else ""


def _escaped(value: str, quotes: str = "") -> str:
    """`value` for the supervisor's configuration, which cannot express some characters.

    Raises:
        InvalidSettings: it holds such a character.
    """
    wrong = sorted(set(value) & set("\"'\n;#") - set(quotes))
    if wrong:
        raise InvalidSettings(
            f"{value!r} holds {', '.join(map(repr, wrong))}, which the stack's supervisor cannot be told: "
            "choose a path or value without quotes, ';', '#' and line breaks."
        )
    return value.replace("%", "%%")


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket, with a deadline."""

    def __init__(self, path: Path, seconds: float) -> None:
        super().__init__("supervisor", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class _Transport(xmlrpc.client.Transport):
    """XML-RPC over a Unix socket."""

    def __init__(self, path: Path, seconds: float) -> None:
        super().__init__()
        self._path, self._seconds = path, seconds

    def make_connection(self, host: object) -> http.client.HTTPConnection:  # noqa: ARG002
        return _Connection(self._path, self._seconds)

"""What the local stack is doing: its programs, and the versions that its replica serves."""

import getpass
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from infra.stack import members, probes
from infra.stack.logs import last_lines
from infra.stack.programs import Program, programs
from infra.stack.supervision import ProcessState, Supervisor
from tasks.errors import StackError
from tasks.records import VersionState
from tasks.settings import Settings

_FAILING = ("BACKOFF", "FATAL", "EXITED", "UNKNOWN")


@dataclass(frozen=True)
class ProgramStatus:
    """One program at this moment."""

    name: str
    state: str  # ready, starting, restarting (it ended before), running (but not ready), failing, stopping or stopped
    pid: int | None
    memory: int | None  # bytes, with all that it started
    uptime: int | None  # seconds
    address: str
    note: str = ""
    log: str = ""  # the last lines, if it fails or is restarted


@dataclass(frozen=True)
class StackStatus:
    """The stack at this moment."""

    home: str
    up: bool  # everything is ready
    programs: tuple[ProgramStatus, ...]
    models: dict[str, tuple[VersionState, ...]]
    labels: dict[str, dict[str, int]]  # by model, and then by label: a version's number
    memory: int  # bytes, the supervisor included
    outdated: bool  # the settings are not those that the running stack was started with
    elsewhere: tuple[str, ...] = ()  # if this stack does not run: homes of this user's stacks that do


def stack_status(settings: Settings) -> StackStatus:
    """Ask the supervisor, the processes and the model server.

    Raises:
        InvalidSettings: the settings do not describe a stack.
    """
    wanted, supervisor = programs(settings), Supervisor(settings.home)
    try:
        supervisor_pid, states = supervisor.pid(), supervisor.states()
    except StackError:
        supervisor_pid, states = 0, {}
    found = tuple(program_status(p, states.get(p.name), supervisor) for p in wanted)
    labels = configured_labels(settings)
    serving = any(p.name == "model-server" and p.state == "ready" for p in found)
    return StackStatus(
        home=str(settings.home.absolute()),
        up=all(p.state == "ready" for p in found),
        programs=found,
        models=served(settings, labels) if serving else {},
        labels=labels,
        memory=sum(p.memory or 0 for p in found) + (members.memory(supervisor_pid, False) if supervisor_pid else 0),
        outdated=bool(supervisor_pid) and supervisor.configured() != supervisor.rendered(wanted),
        elsewhere=() if supervisor_pid else elsewhere(settings.home),
    )


def elsewhere(home: Path) -> tuple[str, ...]:
    """The homes of this user's stacks that run, except the one in `home`."""
    me = getpass.getuser()
    return tuple(str(other) for other, user in members.stacks().items() if user == me and other != home.absolute())


def program_status(program: Program, state: ProcessState | None, supervisor: Supervisor) -> ProgramStatus:
    """One program in `state`; None if the supervisor does not know it."""
    if state is None or state.state == "STOPPED":
        return ProgramStatus(program.name, "stopped", None, None, None, program.address)
    word = _word(state, supervisor.is_ready(program, state))
    return ProgramStatus(
        name=program.name,
        state=word,
        pid=state.pid or None,
        memory=members.memory(state.pid) if state.pid else None,
        uptime=state.uptime if state.pid else None,
        address=program.address,
        note=state.note,
        log=last_lines(supervisor.log_of(program.name)) if word in ("failing", "restarting") else "",
    )


def _word(state: ProcessState, ready: bool) -> str:
    if state.state in _FAILING:
        return "failing"
    if ready:
        return "ready"
    return "restarting" if state.ended else state.state.lower()


def served(settings: Settings, models: Iterable[str]) -> dict[str, tuple[VersionState, ...]]:
    """The states of these models' versions, according to this replica's model server."""
    found = {}
    for name in models:
        answer = probes.get_json(f"http://{settings.host}:{settings.rest_port}/v1/models/{name}")
        found[name] = tuple(
            VersionState(
                int(version["version"]),
                version["state"],
                version["status"]["error_code"],
                version["status"].get("error_message", ""),
            )
            for version in (answer or {}).get("model_version_status", [])
        )
    return found


def configured_labels(settings: Settings) -> dict[str, dict[str, int]]:
    """The models in the config that this replica's model server starts from, sorted, each with its labels."""
    from google.protobuf import text_format

    from tasks.wire.protos import ModelServerConfig

    try:
        config = text_format.Parse(settings.replica_config.read_text(), ModelServerConfig())
    except (OSError, text_format.ParseError):
        return {}
    return {
        entry.name: dict(entry.version_labels)
        for entry in sorted(config.model_config_list.config, key=lambda e: e.name)
    }

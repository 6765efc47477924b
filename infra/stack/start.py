"""Starting the local stack: from any state to one in which all of it is running and ready."""

import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from infra.browsers import is_loopback
from infra.stack import members
from infra.stack.deployments import deploy
from infra.stack.lock import exclusive
from infra.stack.login import ensure_login, login_sentence, write_profiles
from infra.stack.logs import last_lines
from infra.stack.missed import skip_missed_runs
from infra.stack.ports import PASSING, require_distinct, require_free
from infra.stack.programs import Program, programs
from infra.stack.reach import reach, require_log_in
from infra.stack.secrets import ensure_credentials, ensure_key_pair, has_credentials, write_profile
from infra.stack.stop import end_runs
from infra.stack.store_security import secure_store
from infra.stack.supervision import ProcessState, Supervisor
from tasks.errors import DeadlineExceeded, StackError
from tasks.files import create
from tasks.proxies import stay_local
from tasks.settings import Settings

_OF_OTHER_SERVERS = ("PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING", "PREFECT_PROFILES_PATH")
EMPTY_CONFIG = "model_config_list {\n}\n"
_ENDS_TOLERATED = 2  # a program that ends this often before it is ready is broken, not unlucky
_ORPHAN_SECONDS = 15.0

Say = Callable[[str], None]


def up(settings: Settings, say: Say) -> None:
    """Start what does not run or runs with other settings, and wait until all is ready. Each step is passed to `say`.

    Raises:
        InvalidSettings: a setting that cannot be used, or a program that is not installed.
        PortTaken: another program has one of the ports; nothing was started.
        StackError: a program ended; the end of its log is in the message.
        DeadlineExceeded: a program did not become ready in time.
    """
    wanted = programs(settings)
    supervisor = Supervisor(settings.home)
    uses = [use for program in wanted for use in program.ports]
    require_distinct(uses)
    require_log_in(settings.host, wanted)
    with exclusive(settings.home, 2 * settings.start_deadline, say):
        if not supervisor.answers():
            _clear_remains(settings.home, say)
        own = members.listening(members.members(settings.home))
        require_free(settings.host, uses, own, PASSING, say)
        advice = _prepare(settings)
        _converge(supervisor, wanted, settings, say)
        _start(supervisor, wanted, settings, say)
        deploy(settings, say)
    opened = "" if is_loopback(settings.host) else f"SLIPWAY_HOST: {reach(settings.host, wanted)}."
    for line in (login_sentence(settings), advice, opened):
        if line:
            say(line)


def _clear_remains(home: Path, say: Say) -> None:
    """End the processes that a killed supervisor has left behind."""
    end_runs(home, say)
    remains = members.members(home)
    if remains:
        say(f"The supervisor is gone: ending {len(remains)} processes that it left")
        stubborn = members.end(remains, _ORPHAN_SECONDS)
        if stubborn:
            raise StackError(f"Processes {[p.pid for p in stubborn]} of an earlier stack cannot be ended: end them.")


def _prepare(settings: Settings) -> str:
    """Make the files and folders that the programs need, unless they exist.

    Returns:
        What the user has to do before `prefect` commands find this stack; "" if nothing.
    """
    for folder in ("store", "prefect", "mlflow", "logs"):
        (settings.home / folder).mkdir(parents=True, exist_ok=True)
    settings.replica_models.mkdir(parents=True, exist_ok=True)
    if settings.s3_endpoint is None:
        ensure_credentials(settings)
        secure_store(settings)
    if has_credentials(settings):
        write_profile(settings)
    advice = write_profiles(settings) if settings.prefect_url is None else ""
    ensure_login(settings)
    ensure_key_pair(settings)
    if not settings.replica_config.exists():
        create(settings.replica_config, EMPTY_CONFIG.encode())
    return advice


def _converge(supervisor: Supervisor, wanted: Iterable[Program], settings: Settings, say: Say) -> None:
    """Have a running supervisor that knows `wanted` and no other program."""
    supervisor.configure(wanted)
    if not supervisor.answers():
        supervisor.launch(_environment(os.environ, settings))
    changes = supervisor.changes()
    if "worker" in (*changes.changed, *changes.removed):
        end_runs(settings.home, say)
    supervisor.apply(changes)


def _environment(inherited: Mapping[str, str], settings: Settings) -> dict[str, str]:
    """The supervisor's environment, of which each program gets what it may see.

    Paths in it are absolute, since the programs run in another folder.
    """
    modules = filter(None, inherited.get("PYTHONPATH", "").split(os.pathsep))
    environment = {name: value for name, value in inherited.items() if name not in _OF_OTHER_SERVERS}
    environment |= {
        "PYTHONPATH": os.pathsep.join(str(Path(folder).absolute()) for folder in modules),
        "SLIPWAY_PROJECT": str(settings.project.absolute()),
        "NO_COLOR": "1",
        "PYTHONUNBUFFERED": "1",
    }
    stay_local(environment, settings.host)
    return environment


@dataclass
class _Progress:
    """What is known about the programs while they start."""

    started: set[str] = field(default_factory=set)
    ready: set[str] = field(default_factory=set)
    ends: dict[str, int] = field(default_factory=dict)
    last: dict[str, str] = field(default_factory=dict)


def _start(supervisor: Supervisor, wanted: tuple[Program, ...], settings: Settings, say: Say) -> None:
    """Start what does not run, side by side, and wait until everything is ready."""
    began, progress = time.monotonic(), _Progress()
    while len(progress.ready) < len(wanted):
        states = supervisor.states()
        for program in startable(wanted, progress.started, progress.ready):
            if states[program.name].state not in ("STARTING", "RUNNING"):
                say(f"Starting {program.name}")
                supervisor.stop(program.name)  # or one that waits for its next attempt would go on waiting
                supervisor.start(program.name)
            progress.started.add(program.name)
        for program in wanted:
            if program.name in progress.started - progress.ready and supervisor.is_ready(program, states[program.name]):
                _complete(program, settings, say)
                progress.ready.add(program.name)
                say(f"{program.name} is ready: {program.address}")
        _require_alive(supervisor, progress)
        if time.monotonic() - began > settings.start_deadline:
            raise _late(supervisor, [p.name for p in wanted if p.name not in progress.ready], settings.start_deadline)
        time.sleep(0.1)


def startable(wanted: Iterable[Program], started: set[str], ready: set[str]) -> list[Program]:
    """The programs that are not started yet, and for which all that they come after is ready."""
    return [p for p in wanted if p.name not in started and ready.issuperset(p.after)]


def _complete(program: Program, settings: Settings, say: Say) -> None:
    """Do what is still to be done with a program that is ready before others use it."""
    if program.name == "prefect" and (skipped := skip_missed_runs(settings)):
        say(f"Skipped {skipped} scheduled runs that were missed; the latest of each schedule is run")
    if program.name == "store":
        from tasks.store.s3 import S3Store  # slow to import

        S3Store.connect(settings).ensure_bucket()


def _require_alive(supervisor: Supervisor, progress: _Progress) -> None:
    """Check that no program fails to start.

    Raises:
        StackError: one has ended too often; the end of its log is in the message.
    """
    for name, state in supervisor.states().items():
        if name in progress.started - progress.ready:
            count_end(progress.ends, progress.last, state)
            if state.state == "FATAL" or progress.ends.get(name, 0) >= _ENDS_TOLERATED:
                raise StackError(
                    f"{name} does not start ({state.note or state.state.lower()}). The end of its log, "
                    f"{supervisor.log_of(name)}:\n{last_lines(supervisor.log_of(name))}"
                )


def count_end(ends: dict[str, int], last: dict[str, str], state: ProcessState) -> None:
    """Count in `ends` each time that a program is seen to have ended since `last`, its state before."""
    if state.state in ("BACKOFF", "EXITED") and last.get(state.name) != state.state:
        ends[state.name] = ends.get(state.name, 0) + 1
    last[state.name] = state.state


def _late(supervisor: Supervisor, late: list[str], seconds: float) -> DeadlineExceeded:
    logs = "\n".join(f"  {name}, {supervisor.log_of(name)}:\n{last_lines(supervisor.log_of(name), 5)}" for name in late)
    return DeadlineExceeded(
        f"Not ready within {seconds:.0f} s (SLIPWAY_START_DEADLINE): {', '.join(late)}. "
        f"What was started keeps running; see `slipway status`. The ends of the logs:\n{logs}"
    )

"""Stopping the local stack, from any state: nothing that it started is left."""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

from infra.stack import members
from infra.stack.lock import exclusive
from infra.stack.supervision import Supervisor
from tasks.errors import StackError
from tasks.settings import Settings

_GRACE = 45.0  # seconds; more than the longest time that a program is given to stop
RUN_SECONDS = 60.0  # for a run to undo what it began
_LEFTOVER_SECONDS = 10.0

Say = Callable[[str], None]


def down(settings: Settings, say: Say) -> int:
    """Stop the stack and keep all data; how many processes were ended.

    Raises:
        DeadlineExceeded: another process is starting or stopping the stack, and does not end.
        StackError: a process cannot be ended.
    """
    if not settings.home.exists():
        return 0
    supervisor = Supervisor(settings.home)
    with exclusive(settings.home, 2 * settings.start_deadline, say):
        found = members.members(settings.home)
        end_runs(settings.home, say)
        with contextlib.suppress(StackError):  # a supervisor that is gone, or goes at this moment
            _stop_all(supervisor, say)
        stubborn = members.end(members.members(settings.home), _LEFTOVER_SECONDS)
        if stubborn:
            raise StackError(f"Processes {[p.pid for p in stubborn]} cannot be ended: end them as their owner.")
    return len(found)


def end_runs(home: Path, say: Say) -> None:
    """End the flow runs under way, while the store and the servers still run.

    A run that is asked to end undoes what it began, and needs them for it. The worker would kill it when it is stopped.
    """
    while runs := members.runs(home):
        say(f"Ending {len(runs)} flow {'run' if len(runs) == 1 else 'runs'} under way")
        if members.end(runs, RUN_SECONDS):
            return


def _stop_all(supervisor: Supervisor, say: Say) -> None:
    alive = [name for name, state in supervisor.states().items() if state.alive]
    if alive:
        say(f"Stopping {', '.join(alive)}")
    for name in alive:
        supervisor.stop(name, wait=False)
    deadline = time.monotonic() + _GRACE
    while time.monotonic() < deadline and any(
        state.alive or state.state == "STOPPING" for state in supervisor.states().values()
    ):
        time.sleep(0.1)
    supervisor.shutdown()
    while time.monotonic() < deadline and supervisor.answers():
        time.sleep(0.1)

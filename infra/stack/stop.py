"""Stopping the local stack: nothing that it started is left, whatever state it is in."""

import time
from collections.abc import Callable

from infra.stack import processes
from infra.stack.lock import exclusive
from infra.stack.supervision import Supervisor
from tasks.errors import StackError
from tasks.settings import Settings

_GRACE = 45.0  # seconds; more than the longest time that a program is given to stop
_LEFTOVER_SECONDS = 10.0

Say = Callable[[str], None]


def down(settings: Settings, say: Say) -> int:
    """Stop the stack; how many processes that took. All data stays.

    Raises:
        DeadlineExceeded: another process is starting or stopping the stack, and does not end.
        StackError: a process cannot be ended.
    """
    if not settings.home.exists():
        return 0
    supervisor = Supervisor(settings.home)
    with exclusive(settings.home, settings.start_deadline, say):
        found = processes.members(settings.home)
        if supervisor.answers():
            _stop_worker(supervisor, settings, say)
            _stop_others(supervisor, say)
        stubborn = processes.end(processes.members(settings.home), _LEFTOVER_SECONDS)
        if stubborn:
            raise StackError(f"Processes {[p.pid for p in stubborn]} cannot be ended: end them as their owner.")
    return len(found)


def _stop_worker(supervisor: Supervisor, settings: Settings, say: Say) -> None:
    """Stop the worker and the runs that it started, while there is still a store to put things right in."""
    states = supervisor.states()
    if "worker" in states and states["worker"].alive:
        say("Stopping worker")
        supervisor.stop("worker")
        runs = processes.orphans(settings.home, supervisor.pid())
        if runs:
            say(f"Ending {len(runs)} processes of runs under way")
            processes.end(runs, _GRACE)


def _stop_others(supervisor: Supervisor, say: Say) -> None:
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

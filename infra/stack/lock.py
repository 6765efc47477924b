"""One change of the stack at a time: who starts or stops it holds a lock, which ends with the process."""

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tasks.errors import DeadlineExceeded


@contextlib.contextmanager
def exclusive(home: Path, seconds: float, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock of the stack in `home`; wait up to `seconds` for another holder, after one line to `say`.

    Raises:
        DeadlineExceeded: the other holder still has it.
    """
    path = home.absolute() / "stack.lock"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    deadline, told = time.monotonic() + seconds, False
    with path.open("a+") as file:
        while not _try(file.fileno()):
            holder = path.read_text().strip() or "unknown"
            if time.monotonic() > deadline:
                raise DeadlineExceeded(
                    f"Process {holder} has been starting or stopping the stack in {home} for more than "
                    f"{seconds:.0f} s: see what it does, or end it and try again."
                )
            if not told:
                say(f"Process {holder} is starting or stopping this stack: waiting for it")
                told = True
            time.sleep(0.1)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

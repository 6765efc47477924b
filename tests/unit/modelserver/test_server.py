"""How the server is told to stop."""

import subprocess
import sys

import pytest

# The main thread holds the event's lock, as it does for a moment within `wait`.
PROGRAM = """
import os, signal, threading
from infra.modelserver.server import set_at_signals
stopping = threading.Event()
set_at_signals(stopping)
with stopping._cond:
    os.kill(os.getpid(), signal.{signal})
stopping.wait()
"""


@pytest.mark.parametrize("signal", ["SIGTERM", "SIGINT"])
def test_a_signal_that_comes_while_the_main_thread_begins_to_wait_is_not_lost(signal: str) -> None:
    subprocess.run([sys.executable, "-c", PROGRAM.format(signal=signal)], check=True, timeout=60)

"""Stopping: runs under way first."""

import os
import subprocess
import sys
from pathlib import Path

from infra.stack.stop import down, end_runs
from tasks.settings import SUPERVISED, Settings

RUN = """
import signal, sys, time
def take_back(*_):
    print("taken back", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, take_back)
print("begun", flush=True)
time.sleep(600)
"""


def test_a_run_under_way_is_asked_to_end_and_given_time_to_take_back_what_it_began(tmp_path: Path) -> None:
    said: list[str] = []
    run = subprocess.Popen(
        [sys.executable, "-c", RUN, "prefect.engine"],
        env=os.environ | {SUPERVISED: str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert run.stdout is not None
    assert run.stdout.readline() == "begun\n"
    end_runs(tmp_path, said.append)
    assert run.communicate(timeout=10)[0] == "taken back\n"
    assert said == ["Ending 1 flow run under way"]


def test_a_stack_that_never_was_is_down_without_a_trace(tmp_path: Path) -> None:
    assert down(Settings(home=tmp_path / "home"), print) == 0
    assert not (tmp_path / "home").exists()

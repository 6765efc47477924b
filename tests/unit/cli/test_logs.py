"""The command `logs`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


def logs(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "infra.cli.main", "logs", *arguments],
        env=os.environ | {"SLIPWAY_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "worker.log").write_text("first\nsecond\n")
    (tmp_path / "logs" / "agent.log").write_text("other\n")
    return tmp_path


def test_the_last_lines_of_one_program_are_shown(home: Path) -> None:
    assert logs(home, "worker", "--lines", "1").stdout == "second\n"


def test_the_logs_of_all_programs_are_shown_with_their_names(home: Path) -> None:
    shown = logs(home).stdout
    assert "worker.log" in shown
    assert "other" in shown


def test_a_program_without_a_log_is_answered_with_those_that_have_one(home: Path) -> None:
    done = logs(home, "wroker")
    assert done.returncode == 1
    assert done.stderr == "slipway: There is no log of 'wroker'; there are logs of: agent, worker.\n"


def test_a_stack_that_never_was_has_no_logs(tmp_path: Path) -> None:
    done = logs(tmp_path)
    assert done.returncode == 1
    assert "the stack was never started here" in done.stderr

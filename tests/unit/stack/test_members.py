"""Processes of a stack, found by their mark."""

import getpass
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from infra.stack import members
from tasks.settings import SUPERVISED

LISTENS = """
import signal, socket, sys, time
server = socket.socket(); server.bind(("127.0.0.1", 0)); server.listen()
if sys.argv[1:]:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(server.getsockname()[1], flush=True)
time.sleep(600)
"""


class Marked:
    """A process with a stack's environment variable that listens on a port."""

    def __init__(self, home: Path, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", LISTENS, *arguments],
            env=os.environ | {SUPERVISED: str(home)},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def __enter__(self) -> "Marked":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Marked]:
    with Marked(tmp_path) as marked:
        yield marked


def test_members_are_known_by_their_mark_alone(tmp_path: Path, running: Marked) -> None:
    with Marked(tmp_path / "another") as other:
        found = [process.pid for process in members.members(tmp_path)]
        assert found == [running.process.pid]
        assert other.process.pid not in found


def test_stacks_are_known_by_their_supervisors_command(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "input()", "supervisor.supervisord", "-c", str(tmp_path / "supervisord.conf")]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as other:
        assert members.stacks()[tmp_path] == getpass.getuser()
        other.kill()


def test_what_descends_from_the_supervisor_is_no_orphan(tmp_path: Path, running: Marked) -> None:
    assert members.orphans(tmp_path, os.getpid()) == []
    assert [p.pid for p in members.orphans(tmp_path, 1 << 22)] == [running.process.pid]
    assert members.left_listening(tmp_path, 1 << 22, {running.port})
    assert not members.left_listening(tmp_path, 1 << 22, {1})


def test_a_process_that_ignores_the_request_to_end_is_killed(tmp_path: Path) -> None:
    with ExitStack() as exits:
        exits.enter_context(Marked(tmp_path))
        exits.enter_context(Marked(tmp_path, "stubborn"))
        assert members.end(members.members(tmp_path), 1) == []
        assert members.members(tmp_path) == []


def test_a_takeover_ends_what_listens_on_the_port_and_becomes_the_command(tmp_path: Path, running: Marked) -> None:
    command = [sys.executable, "-m", "infra.stack.takeover", str(tmp_path), str(running.port), "SEEN", "/usr/bin/env"]
    mine = os.environ | {"SEEN": "1", "AWS_ACCESS_KEY_ID": "hush"}
    done = subprocess.run(command, env=mine, capture_output=True, text=True, timeout=60)
    assert "\nSEEN=1" in done.stdout
    assert "hush" not in done.stdout
    assert running.process.wait(10) != 0


def test_memory_of_a_process_includes_its_children(running: Marked) -> None:
    assert members.memory(os.getpid()) > members.memory(os.getpid(), with_children=False) > 0
    assert members.memory(1 << 22) == 0

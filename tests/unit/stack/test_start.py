"""The decisions of starting."""

import os
from pathlib import Path

import pytest

from infra.stack.programs import programs
from infra.stack.start import _environment, count_end, startable
from infra.stack.supervision import ProcessState
from tasks.settings import Settings


def state(word: str) -> ProcessState:
    return ProcessState(name="p", state=word, pid=0, began=0, uptime=0)


def names(tmp_path: Path, started: set[str], ready: set[str]) -> set[str]:
    return {program.name for program in startable(programs(Settings(home=tmp_path)), started, ready)}


def test_servers_start_side_by_side_and_what_needs_them_afterwards(tmp_path: Path) -> None:
    servers = {"store", "prefect", "mlflow", "model-server"}
    assert names(tmp_path, set(), set()) == servers
    assert names(tmp_path, servers, {"mlflow"}) == set()
    assert names(tmp_path, servers, {"store"}) == {"agent"}
    assert names(tmp_path, servers | {"agent"}, {"store", "prefect"}) == {"worker"}


def test_programs_find_what_the_command_finds_though_they_run_in_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    environment = _environment({"PYTHONPATH": f".{os.pathsep}src{os.pathsep}/opt/shared"}, Settings())
    assert environment["PYTHONPATH"].split(os.pathsep) == [str(tmp_path), str(tmp_path / "src"), "/opt/shared"]
    assert environment["SLIPWAY_PROJECT"] == str(tmp_path)
    assert not _environment({}, Settings())["PYTHONPATH"]


def test_a_program_that_ends_is_counted_once_each_time() -> None:
    ends: dict[str, int] = {}
    last: dict[str, str] = {}
    for word in ("STARTING", "BACKOFF", "BACKOFF", "STARTING", "STARTING", "BACKOFF", "STARTING", "RUNNING", "EXITED"):
        count_end(ends, last, state(word))
    assert ends == {"p": 3}

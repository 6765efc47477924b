"""The decisions of starting."""

from pathlib import Path

from infra.stack.programs import programs
from infra.stack.start import count_end, startable
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


def test_a_program_that_ends_is_counted_once_each_time() -> None:
    ends: dict[str, int] = {}
    last: dict[str, str] = {}
    for word in ("STARTING", "BACKOFF", "BACKOFF", "STARTING", "STARTING", "BACKOFF", "STARTING", "RUNNING", "EXITED"):
        count_end(ends, last, state(word))
    assert ends == {"p": 3}

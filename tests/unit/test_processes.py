"""A process is told from a later one with the same number."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tasks import processes


def test_the_process_that_asks_is_not_gone() -> None:
    assert not processes.is_gone(processes.this_process())


def test_a_process_that_ended_is_gone() -> None:
    ask = (
        "import dataclasses, json; from tasks.processes import *; print(json.dumps(dataclasses.asdict(this_process())))"
    )
    told = subprocess.run([sys.executable, "-c", ask], capture_output=True, check=True, text=True).stdout
    assert processes.is_gone(processes.ProcessRef(**json.loads(told)))


def test_another_process_under_the_same_number_is_not_the_one_that_was() -> None:
    me = processes.this_process()
    assert processes.is_gone(dataclasses.replace(me, started=me.started - 1))
    assert processes.is_gone(dataclasses.replace(me, boot="an earlier boot"))


def test_a_process_on_another_machine_is_not_known_to_be_gone() -> None:
    assert not processes.is_gone(dataclasses.replace(processes.this_process(), host="elsewhere", pid=1))


HOLD = """
import sys
from tasks.processes import temporary_folder
with temporary_folder("test") as folder:
    (folder / "file").write_text("x")
    print(folder, flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_process_leaves_is_cleared_and_nothing_of_one_that_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with (
        subprocess.Popen(
            [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={"TMPDIR": str(tmp_path)},
        ) as other,
        processes.temporary_folder("test") as mine,
    ):  # fmt: skip
        assert other.stdout is not None
        theirs = Path(other.stdout.readline().strip())
        (tmp_path / "slipway-of-someone-else").mkdir()
        (tmp_path / theirs.name.replace("slipway-test-", "slipway-test-1")).mkdir()  # in another container
        before = sorted(tmp_path.iterdir())
        processes.clear_temporary()
        assert sorted(tmp_path.iterdir()) == before
        other.kill()
        other.wait(10)
        processes.clear_temporary()
        assert sorted(tmp_path.iterdir()) == [folder for folder in before if folder != theirs]
        assert mine.is_dir()
    assert not mine.exists()

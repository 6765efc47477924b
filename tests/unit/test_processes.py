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
HOLD_LASTING = """
import sys
from tasks.processes import LastingFolder
folder = LastingFolder("test")
(folder.path / "file").write_text("x")
print(folder.path, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("hold", [HOLD, HOLD_LASTING])
def test_what_a_killed_process_leaves_is_cleared_and_nothing_of_one_that_lives(
    hold: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with (
        subprocess.Popen(
            [sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
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


def test_a_lasting_folder_goes_with_what_holds_it() -> None:
    folder = processes.LastingFolder("test")
    path = folder.path
    (path / "file").write_text("x")
    del folder
    assert not path.exists()


def test_a_lasting_folder_goes_with_its_process(tmp_path: Path) -> None:
    environment = {"TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", HOLD_LASTING], stdin=subprocess.DEVNULL, capture_output=True, env=environment, check=True
    )
    assert Path(done.stdout.decode().strip()).parent == tmp_path
    assert list(tmp_path.iterdir()) == []

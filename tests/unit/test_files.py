"""Files that others read while they are written: the whole of one or none, and of two writers one wins."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tasks.files import create, write_atomically


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_is_written_replaces_what_was_there_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "file"
    write_atomically(path, b"before")
    write_atomically(path, b"after")
    assert path.read_bytes() == b"after"
    assert [found.name for found in path.parent.iterdir()] == ["file"]


@pytest.mark.parametrize("write", [write_atomically, create])
def test_a_file_has_the_mode_that_is_asked_for_whatever_the_umask(tmp_path: Path, write: object) -> None:
    before = os.umask(0o077)
    try:
        for name, wanted in (("shown", 0o644), ("secret", 0o600)):
            write(tmp_path / name, b"", wanted)  # type: ignore[operator]
            assert mode(tmp_path / name) == wanted
    finally:
        os.umask(before)


def test_what_is_there_is_not_replaced_by_what_is_created(tmp_path: Path) -> None:
    assert create(tmp_path / "file", b"first")
    assert not create(tmp_path / "file", b"second")
    assert (tmp_path / "file").read_bytes() == b"first"
    assert [found.name for found in tmp_path.iterdir()] == ["file"]


def test_of_many_who_create_one_file_at_once_one_wins(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(lambda n: create(tmp_path / "file", b"%d" % n), range(16)))
    assert (tmp_path / "file").read_bytes() == b"%d" % made.index(True)
    assert sum(made) == 1
    assert [found.name for found in tmp_path.iterdir()] == ["file"]


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_atomically(tmp_path / "file", b"before")

    def full(_: int) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(tmp_path / "file", b"after")
    assert (tmp_path / "file").read_bytes() == b"before"
    assert [found.name for found in tmp_path.iterdir()] == ["file"]

"""One change of the stack at a time."""

import os
import threading
from pathlib import Path

import pytest

from infra.stack.lock import exclusive
from tasks.errors import DeadlineExceeded


def test_the_second_waits_for_the_first_and_says_so(tmp_path: Path) -> None:
    said: list[str] = []
    order: list[str] = []
    waiting = threading.Event()

    def tell(line: str) -> None:
        said.append(line)
        waiting.set()

    def second() -> None:
        with exclusive(tmp_path, 30, tell):
            order.append("second")

    thread = threading.Thread(target=second)
    with exclusive(tmp_path, 30, said.append):
        thread.start()
        assert waiting.wait(30)
        order.append("first")
    thread.join(30)
    assert order == ["first", "second"]
    assert said == [f"Process {os.getpid()} is starting or stopping this stack: waiting for it"]


def test_a_holder_that_does_not_end_is_named(tmp_path: Path) -> None:
    with (
        exclusive(tmp_path, 1, print),
        pytest.raises(DeadlineExceeded, match=f"Process {os.getpid()} has been"),
        exclusive(tmp_path, 0.2, print),
    ):
        pass


def test_the_lock_is_free_again_after_a_failure(tmp_path: Path) -> None:
    with pytest.raises(KeyError), exclusive(tmp_path, 1, print):
        raise KeyError
    with exclusive(tmp_path, 1, print):
        pass

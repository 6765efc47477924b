"""The threads that answer gRPC calls."""

import threading

import pytest

from infra.modelserver.grpc_server import _Threads


def no_more_threads(_thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_a_call_for_which_no_thread_can_start_waits_for_another_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    held, done = threading.Event(), threading.Event()
    pool = _Threads(max_workers=4)
    pool.submit(held.wait)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_more_threads)
        pool.submit(done.set)  # an error here would end the thread that hands over every call
    assert not done.wait(0.05)
    held.set()
    assert done.wait(10)
    pool.shutdown()


def test_the_next_call_for_which_a_thread_starts_takes_along_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = threading.Event(), threading.Event()
    pool = _Threads(max_workers=4)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_more_threads)
        pool.submit(first.set)
    pool.submit(second.set)
    assert first.wait(10)
    assert second.wait(10)
    pool.shutdown()

"""The manager with servables that are only names: what is loaded when, and who may still use it."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.modelserver.errors import Code, StatusError
from infra.modelserver.lifecycle.manager import Manager, ManagerOptions
from infra.modelserver.lifecycle.policy import VersionPolicy
from infra.modelserver.lifecycle.source import FileSystemSource, Watched
from infra.modelserver.lifecycle.states import State, StateMonitor


class FakeServable:
    def __init__(self, name: str, version: int) -> None:
        self.name, self.version, self.closed = name, version, False

    def close(self) -> None:
        self.closed = True


class Loads:
    """A loader that a test can hold back or make fail, version by version."""

    def __init__(self) -> None:
        self.failing: dict[int, StatusError] = {}
        self.held: dict[int, threading.Event] = {}
        self.attempts: list[int] = []

    def __call__(self, name: str, version: int, path: str) -> Any:
        self.attempts.append(version)
        if version in self.held:
            assert self.held[version].wait(10)
        if version in self.failing:
            raise self.failing[version]
        return FakeServable(name, version)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


class Managed:
    def __init__(self, **options: Any) -> None:
        self.loads, self.monitor = Loads(), StateMonitor()
        self.manager = Manager(self.loads, self.monitor, ManagerOptions(**{"max_load_retries": 0, **options}))

    def want(self, *versions: int) -> None:
        self.manager.set_wanted("m", {version: f"/m/{version}" for version in versions})

    def states(self) -> dict[int, State]:
        return {status.version: status.state for status in self.monitor.statuses("m", None)}

    def reaches(self, **states: str) -> None:
        until(lambda: self.states() == {int(key[1:]): State[value] for key, value in states.items()})

    def serving(self, version: int | None = None, label: str | None = None) -> int:
        with self.manager.acquire("m", version, label) as servable:
            return servable.version


def test_a_swap_loads_the_new_version_before_it_unloads_the_old_one() -> None:
    it = Managed()
    it.want(1)
    it.reaches(v1="AVAILABLE")
    it.loads.held[2] = threading.Event()
    it.want(2)
    it.reaches(v1="AVAILABLE", v2="LOADING")
    assert it.serving() == 1
    it.loads.held[2].set()
    it.reaches(v1="END", v2="AVAILABLE")
    assert it.serving() == 2


def test_a_request_in_flight_keeps_the_old_version_until_it_ends() -> None:
    it = Managed()
    it.want(1)
    it.reaches(v1="AVAILABLE")
    with it.manager.acquire("m", None, None) as held:
        it.want(2)
        it.reaches(v1="UNLOADING", v2="AVAILABLE")
        assert it.serving() == 2
        assert not held.closed  # type: ignore[attr-defined]
    it.reaches(v1="END", v2="AVAILABLE")
    assert held.closed  # type: ignore[attr-defined]


def test_the_old_version_serves_on_when_the_new_one_fails_for_good() -> None:
    it = Managed()
    it.want(1)
    it.reaches(v1="AVAILABLE")
    it.loads.failing[2] = StatusError(Code.OUT_OF_RANGE, "Read less bytes than requested")
    it.want(2)
    it.reaches(v1="AVAILABLE", v2="END")
    it.want(2)
    assert it.serving() == 1
    assert it.loads.attempts == [1, 2]
    status = it.monitor.statuses("m", 2)[0]
    assert (status.code, status.message) == (Code.OUT_OF_RANGE, "Read less bytes than requested")


def test_a_failed_version_is_tried_again_after_it_was_no_longer_wanted() -> None:
    it = Managed()
    it.loads.failing[2] = StatusError(Code.INTERNAL, "no")
    it.want(1, 2)
    it.reaches(v1="AVAILABLE", v2="END")
    it.want(1)
    it.loads.failing.clear()
    it.want(1, 2)
    it.reaches(v1="AVAILABLE", v2="AVAILABLE")


def test_a_load_is_tried_as_often_as_the_retries_allow() -> None:
    it = Managed(max_load_retries=2, retry_interval=0.01)
    it.loads.failing[1] = StatusError(Code.NOT_FOUND, "no")
    it.want(1)
    it.reaches(v1="END")
    assert it.loads.attempts == [1, 1, 1]


def test_retries_end_when_the_version_is_no_longer_wanted() -> None:
    it = Managed(max_load_retries=5, retry_interval=60.0)
    it.loads.failing[1] = StatusError(Code.NOT_FOUND, "no")
    it.want(1)
    until(lambda: it.loads.attempts == [1])
    it.want()
    it.reaches(v1="END")


def test_an_unforeseen_error_of_a_loader_fails_that_version() -> None:
    it = Managed()
    it.loads.failing[1] = ValueError("odd")  # type: ignore[assignment]
    it.want(1)
    it.reaches(v1="END")
    assert it.monitor.statuses("m", 1)[0].message == "ValueError: odd"


def test_a_version_wanted_again_before_it_left_stays_without_a_second_load() -> None:
    it = Managed()
    it.want(1)
    it.reaches(v1="AVAILABLE")
    it.loads.held[2] = threading.Event()
    it.want(2)
    until(lambda: 2 in it.loads.attempts)
    it.want(1)
    it.loads.held[2].set()
    it.reaches(v1="AVAILABLE", v2="END")
    assert it.loads.attempts == [1, 2]


def test_a_version_wanted_again_while_it_is_unloaded_is_loaded_anew() -> None:
    it = Managed()
    it.want(1)
    it.reaches(v1="AVAILABLE")
    with it.manager.acquire("m", None, None):
        it.want()
        it.reaches(v1="UNLOADING")
        it.want(1)
        assert it.states() == {1: State.UNLOADING}
    it.reaches(v1="AVAILABLE")
    assert it.loads.attempts == [1, 1]


def test_the_highest_loaded_version_answers_unless_a_version_or_label_is_asked_for() -> None:
    it = Managed()
    it.want(1, 2, 10)
    it.reaches(v1="AVAILABLE", v2="AVAILABLE", v10="AVAILABLE")
    it.manager.set_labels({"m": {"stable": 2}})
    assert (it.serving(), it.serving(1), it.serving(None, "stable"), it.serving(10, "stable")) == (10, 1, 2, 10)


@pytest.mark.parametrize(
    ("asked", "code", "text"),
    [
        (("absent", None, None), Code.NOT_FOUND, "Servable not found for request: Latest(absent)"),
        (("m", 7, None), Code.NOT_FOUND, "Servable not found for request: Specific(m, 7)"),
        (("m", None, "none"), Code.INVALID_ARGUMENT, "Unrecognized servable version label: none"),
        (("m", None, "gone"), Code.NOT_FOUND, "Servable not found for request: Specific(m, 9)"),
        (("", None, None), Code.INVALID_ARGUMENT, "ModelSpec has no name specified."),
    ],
)
def test_what_is_not_loaded_is_refused_with_tensorflow_servings_text(
    asked: tuple[str, int | None, str | None], code: Code, text: str
) -> None:
    it = Managed()
    it.want(1)
    it.reaches(v1="AVAILABLE")
    it.manager.set_labels({"m": {"gone": 9}})
    with pytest.raises(StatusError) as problem, it.manager.acquire(*asked):
        pass
    assert (problem.value.code, problem.value.message) == (code, text)


def test_no_request_fails_while_versions_are_swapped() -> None:
    it = Managed()
    it.want(1)
    it.reaches(v1="AVAILABLE")
    failures: list[str] = []
    done = threading.Event()

    def ask() -> None:
        while not done.wait(0.0005):
            try:
                with it.manager.acquire("m", None, None) as servable:
                    if servable.closed:  # type: ignore[attr-defined]
                        failures.append(f"version {servable.version} was closed while it was held")
            except StatusError as error:
                failures.append(str(error))

    clients = [threading.Thread(target=ask) for _ in range(3)]
    for client in clients:
        client.start()
    for version in range(2, 102):
        it.want(version)
        until(lambda version=version: it.states()[version] == State.AVAILABLE)  # type: ignore[misc]
    done.set()
    for client in clients:
        client.join()
    assert failures == []
    until(lambda: list(it.states().values()).count(State.END) == 100)


def test_a_version_whose_thread_could_not_start_is_loaded_when_it_is_wanted_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    it = Managed()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_more_threads)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            it.want(1)
    it.reaches(v1="START")
    it.want(1)
    it.reaches(v1="AVAILABLE")


def test_a_poll_that_fails_is_not_the_last(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    it = Managed()
    (tmp_path / "1").mkdir()
    source = FileSystemSource(it.manager.set_wanted, interval=0.01)
    source.update({"m": Watched("m", str(tmp_path), VersionPolicy())})
    failed = threading.Event()

    def fail_once(name: str, versions: Any) -> None:
        if not failed.is_set():
            failed.set()
            raise RuntimeError("can't start new thread")
        it.manager.set_wanted(name, versions)

    monkeypatch.setattr(source, "_set_wanted", fail_once)
    source.start()
    until(failed.is_set)
    until(lambda: it.monitor.available("m") == {1})
    source.stop()


def no_more_threads(_thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")

import threading

import pytest

from infra.modelserver.errors import Code, StatusError
from infra.modelserver.lifecycle.states import State, StateMonitor, VersionStatus


def test_statuses_come_highest_version_first_with_the_error_that_ended_them() -> None:
    monitor = StateMonitor()
    monitor.publish("m", 1, State.AVAILABLE)
    monitor.publish("m", 2, State.END, StatusError(Code.OUT_OF_RANGE, "cut off"))
    assert monitor.statuses("m", None) == [
        VersionStatus(2, State.END, Code.OUT_OF_RANGE, "cut off"),
        VersionStatus(1, State.AVAILABLE, Code.OK, ""),
    ]
    assert monitor.statuses("m", 1) == [VersionStatus(1, State.AVAILABLE, Code.OK, "")]
    assert monitor.available("m") == {1}


def test_unknown_models_and_versions_are_not_found() -> None:
    monitor = StateMonitor()
    monitor.publish("m", 1, State.AVAILABLE)
    with pytest.raises(StatusError, match="Could not find any versions of model absent"):
        monitor.statuses("absent", None)
    with pytest.raises(StatusError, match="Could not find version 2 of model m"):
        monitor.statuses("m", 2)


def test_a_watch_sees_only_what_is_published_after_it_began() -> None:
    monitor = StateMonitor()
    monitor.publish("m", 1, State.END)
    watch = monitor.watch()
    threading.Timer(0.05, lambda: monitor.publish("m", 2, State.AVAILABLE)).start()
    assert watch.wait(["m"], lambda: False) == {"m": VersionStatus(2, State.AVAILABLE, Code.OK, "")}


def test_a_watch_waits_for_every_name_and_takes_its_highest_settled_version() -> None:
    monitor = StateMonitor()
    watch = monitor.watch()
    monitor.publish("a", 1, State.AVAILABLE)
    monitor.publish("a", 2, State.END)
    monitor.publish("a", 3, State.LOADING)
    assert watch.wait(["a", "b"], lambda: True) is None
    monitor.publish("b", 1, State.AVAILABLE)
    reached = watch.wait(["a", "b"], lambda: False)
    assert reached is not None
    assert {name: status.version for name, status in reached.items()} == {"a": 2, "b": 1}


def test_a_watch_for_nothing_is_over_at_once() -> None:
    assert StateMonitor().watch().wait([], lambda: False) == {}

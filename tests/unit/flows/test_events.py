"""What events say, when two are one, and what a Prefect server that is away costs."""

import dataclasses
import re
import socket
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from prefect.events import Event
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows import events
from tasks.delivery.rollout import RolloutEnd
from tasks.fleet.changes import ReplicaChange
from tasks.processes import this_process
from tasks.records import Comparison, Manifest, RolloutRecord, Training, Verdict, now

TABLE = (Path(__file__).parents[3] / "docs" / "events.md").read_text()
RECORD = RolloutRecord("MLP", 7, "labels", "run-1", this_process(), now(), forced="it must go")
MANIFEST = Manifest("MLP", 7, "id", (), {}, None, Training(), Comparison({}, {}, 6, ("worse",), forced="it must go"))
CHANGE = ReplicaChange("r1", "behind", "It last reported 40 s ago.", None, 1)


def verdict(state: str) -> Verdict:
    return Verdict("MLP", 7, state, f"{state} for a reason", "run-1")  # type: ignore[arg-type]


def all_events() -> dict[str, Event]:
    found = [
        events.published(MANIFEST, "run-1"),
        *(events.decided("default", RECORD, verdict(state)) for state in ("accepted", "rejected", "retired")),
        *(events.rollout(what, "default", RECORD) for what in ("began", "aborted", "finished")),
        events.replica("default", CHANGE, "run-2"),
        events.replica("default", dataclasses.replace(CHANGE, what="back", number=2), "run-2"),
    ]
    return {event.event: event for event in found}


def test_every_event_is_in_the_table_and_no_other() -> None:
    assert re.findall(r"^\| `(slipway\.[a-z.]+)`", TABLE, re.MULTILINE) == list(all_events())


@pytest.mark.parametrize("name", all_events())
def test_an_event_says_of_what_it_is_and_where_and_why_and_by_which_run(name: str) -> None:
    event = all_events()[name]
    assert {"model", "version", "fleet", "reason", "run"} <= event.payload.keys()
    assert set(event.payload) <= set(re.findall(r"`([a-z]+)`", TABLE))
    roles = {resource.role: resource.id for resource in event.related}
    assert roles.get("model") == (f"slipway.model.{event.payload['model']}" if event.payload["model"] else None)
    assert roles.get("fleet") == (f"slipway.fleet.{event.payload['fleet']}" if event.payload["fleet"] else None)
    subject = "slipway.replica.default.r1" if ".replica." in name else "slipway.version.MLP.7"
    assert event.resource.id == subject


def test_a_forced_version_is_published_with_its_reason_and_any_other_without() -> None:
    assert events.published(MANIFEST, "r").payload["reason"] == "it must go"
    assert events.published(dataclasses.replace(MANIFEST, gate=None), "r").payload["reason"] is None


def test_what_is_told_again_is_the_same_event() -> None:
    later = dataclasses.replace(verdict("accepted"), time=now() + timedelta(seconds=5))
    again = dataclasses.replace(RECORD, deadline=now() + timedelta(hours=1), process=None)  # type: ignore[arg-type]
    assert events.decided("default", again, later).id == events.decided("default", RECORD, verdict("accepted")).id
    assert {e.id for e in all_events().values()} == {e.id for e in all_events().values()}


def test_another_rollout_of_the_same_version_by_the_same_run_is_another_event() -> None:
    other = dataclasses.replace(RECORD, started=RECORD.started + timedelta(seconds=1))
    found = [events.rollout("began", fleet, record).id for fleet in ("a", "b") for record in (RECORD, other)]
    assert len({*found, *(e.id for e in all_events().values())}) == len(found) + len(all_events())


def test_two_prunings_that_delete_one_version_at_once_are_one_event() -> None:
    pruned = verdict("retired")
    assert events.retired(dataclasses.replace(pruned, run="another")).id == events.retired(pruned).id


def test_a_replica_that_falls_behind_again_is_another_event() -> None:
    again = dataclasses.replace(CHANGE, number=3)
    assert events.replica("default", again, "run").id != events.replica("default", CHANGE, "run").id


def test_an_aborted_rollout_tells_its_verdict_first_and_one_that_is_not_over_tells_nothing() -> None:
    end = RolloutEnd(RECORD, "aborted", "It was aborted.", (verdict("rejected"),))
    found = events.ended("default", end)
    assert [e.event for e in found] == ["slipway.version.rejected", "slipway.rollout.aborted"]
    assert found[0].occurred <= found[1].occurred
    assert events.ended("default", RolloutEnd(RECORD, None, "It goes on.")) == []


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that takes connections and answers nothing."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(5)
        yield server.getsockname()[1]


def seconds_lost_to(port: int) -> float:
    began = time.monotonic()
    with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{port}/api"}):
        assert not events.emit(events.published(MANIFEST, "run"))
    return time.monotonic() - began


def test_a_server_that_is_away_costs_a_moment_and_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        assert seconds_lost_to(closed.getsockname()[1]) < 3
    assert "Prefect did not take slipway.version.published (ConnectError)" in caplog.text


def test_a_server_that_answers_nothing_costs_seconds(silent_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "_TIMEOUT", 0.2)
    assert seconds_lost_to(silent_port) < 3


def test_without_a_server_nothing_is_sent_and_none_is_started() -> None:
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        assert not events.emit(events.published(MANIFEST, "run"))
        assert events.emit()

"""Which scheduled runs are skipped after the stack was down, and what Prefect is asked."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from infra.stack import missed
from infra.stack.missed import skip_missed_runs, superseded
from tasks.errors import StackError
from tasks.settings import Settings


def run(name: str, schedule: str | None = "every-five-minutes", *, by_hand: bool = False) -> dict[str, Any]:
    created = None if schedule is None else {"id": schedule, "type": "SCHEDULE"}
    return {"id": name, "deployment_id": "reconcile", "auto_scheduled": not by_hand, "created_by": created}


class FakePrefect(ThreadingHTTPServer):
    """Lists its runs, a page at a time, and takes those that are skipped away."""

    def __init__(self, runs: list[dict[str, Any]]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.runs = runs
        self.states: list[dict[str, Any]] = []


class _Handler(BaseHTTPRequestHandler):
    server: FakePrefect

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer: Any = {}
        if self.path == "/api/flow_runs/filter":
            assert body["sort"] == "EXPECTED_START_TIME_DESC"
            answer = self.server.runs[: body["limit"]]
        else:
            assert self.path == "/api/flow_runs/bulk_set_state"
            gone = body["flow_runs"]["id"]["any_"]
            self.server.runs = [one for one in self.server.runs if one["id"] not in gone]
            self.server.states.append(body["state"])
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def prefect_client() -> Iterator[FakePrefect]:
    with FakePrefect([]) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def settings(tmp_path: Path, port: int) -> Settings:
    return Settings(home=tmp_path, prefect_url=f"http://127.0.0.1:{port}/api")


def test_of_each_schedule_the_latest_run_stays() -> None:
    runs = [run("r3"), run("n2", "nightly"), run("r2"), run("r1"), run("n1", "nightly")]
    assert superseded(runs) == ["r2", "r1", "n1"]


def test_runs_that_someone_asked_for_stay_and_hide_no_other() -> None:
    assert superseded([run("a", by_hand=True), run("b", by_hand=True), run("c")]) == []


def test_runs_that_do_not_say_their_schedule_are_told_apart_by_their_deployment() -> None:
    assert superseded([run("b", None), run("a", None)]) == ["a"]


def test_any_number_of_missed_runs_is_skipped_but_for_the_latest(prefect_client: FakePrefect, tmp_path: Path) -> None:
    prefect_client.runs = [run(str(number)) for number in range(230)]
    assert skip_missed_runs(settings(tmp_path, prefect_client.server_port)) == 229
    assert [one["id"] for one in prefect_client.runs] == ["0"]
    assert {state["type"] for state in prefect_client.states} == {"CANCELLED"}
    assert skip_missed_runs(settings(tmp_path, prefect_client.server_port)) == 0


def test_a_server_that_does_not_answer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(missed, "_SECONDS", 0.0)
    with pytest.raises(StackError, match=r"http://127\.0\.0\.1:9/api does not list or skip"):
        skip_missed_runs(settings(tmp_path, 9))

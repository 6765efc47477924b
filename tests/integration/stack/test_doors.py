"""Who gets in at the ports of a stack: neither a web page, nor another user of the machine without the log-in."""

import base64
import contextlib
import http.server
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import requests
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from infra.stack import members as stack_members
from infra.stack.login import ensure_login
from infra.stack.members import listening
from infra.stack.programs import programs
from tasks.settings import Settings
from tests.helpers.local import LocalStack, until

NOBODY = 65534
JSON = {"Content-Type": "application/json"}
PAGE = {"Origin": "http://localhost:9", "Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"}
EVENT = {
    "occurred": "2026-01-01T00:00:00Z",
    "event": "page.was.here",
    "resource": {"prefect.resource.id": "page"},
    "id": "01a21569-744f-7642-94db-c9a06f286162",
}
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

Question = tuple[str, str, Any]


def questions(settings: Settings) -> dict[int, list[Question]]:
    """For each port that speaks HTTP, what reads or changes something there, if it is let."""
    mlflow, artifacts = "/api/2.0/mlflow", "/api/2.0/mlflow-artifacts/artifacts"
    return {
        settings.prefect_port: [
            ("POST", "/api/flow_runs/filter", {}),
            ("POST", "/api/flows/", {"name": "made-by-a-page"}),
            ("GET", "/api/admin/settings", None),
            ("POST", "/api/events", [EVENT]),
        ],
        settings.mlflow_port: [
            ("GET", "/", None),
            ("POST", f"{mlflow}/experiments/search", {"max_results": 10}),
            ("POST", f"{mlflow}/experiments/create", {"name": "made-by-a-page"}),
            ("POST", f"{mlflow.replace('api', 'ajax-api')}/experiments/create", {"name": "made-by-a-page"}),
            ("GET", artifacts, None),
            ("PUT", f"{artifacts}/made-by-a-page", {}),
        ],
        settings.store_port: [
            ("GET", "/", None),
            ("GET", f"/{settings.bucket}", None),
            ("PUT", f"/{settings.bucket}/made-by-a-page", {}),
        ],
        settings.rest_port: [("GET", "/v1/models/any", None), ("POST", "/v1/models/any:predict", {"instances": [1]})],
        settings.agent_port: [("GET", "/healthz", None), ("GET", "/readyz", None), ("GET", "/metrics", None)],
    }


def ask(port: int, question: Question, headers: dict[str, str]) -> requests.Response:
    """Ask as a program does; nothing is added to what HTTP needs."""
    method, path, body = question
    data = None if body is None else json.dumps(body)
    return requests.request(method, f"http://127.0.0.1:{port}{path}", data=data, headers=headers, timeout=20)


@contextlib.contextmanager
def another_user() -> Iterator[None]:
    """Connections that are made inside are another user's."""
    if os.geteuid() != 0:
        pytest.skip("only root can be another user; tests/unit/stack/test_guard.py tests what is decided then")
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture(autouse=True)
def nothing_was_made(stack: LocalStack) -> Iterator[None]:
    """No question of these tests had an effect."""
    yield
    api, mine = stack.settings.prefect_api, stack.settings
    assert stack.http.get(f"{api}/flows/name/made-by-a-page", timeout=20).status_code == 404
    found = stack.http.post(f"{api}/events/filter", json={"filter": {"event": {"name": ["page.was.here"]}}}, timeout=20)
    assert found.json()["events"] == []
    by_name = f"{mine.mlflow_uri}/api/2.0/mlflow/experiments/get-by-name?experiment_name=made-by-a-page"
    assert stack.http.get(by_name, timeout=20).status_code == 404
    assert (
        "made-by-a-page" not in stack.http.get(f"{mine.mlflow_uri}/api/2.0/mlflow-artifacts/artifacts", timeout=20).text
    )


def test_nothing_listens_but_on_the_ports_of_the_settings(stack: LocalStack) -> None:
    ports = {use.port for program in programs(stack.settings) for use in program.ports}
    members = stack_members.members(stack.home)
    workers = [process for process in members if "worker" in process.cmdline()]
    assert listening(process for process in members if process not in workers) <= ports
    # The worker hears from its runs on a port of its own, each with a token that it made for it.
    for port in listening(workers):
        with pytest.raises(requests.RequestException):
            ask(port, ("GET", "/", None), {})


@pytest.mark.parametrize("page", ["origin", "null", "same-site", "rebound"])
def test_no_page_gets_an_answer_from_any_port(stack: LocalStack, page: str) -> None:
    headers = {
        "origin": PAGE,
        "null": {"Origin": "null"},  # a sandboxed frame, a file
        "same-site": {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"},  # <img>, <script>, <form>
        "rebound": {"Host": "page.example"},
    }[page]
    login = base64.b64encode(ensure_login(stack.settings).encode()).decode()
    for port, asked in questions(stack.settings).items():
        for question in asked:
            for known in ({}, {"Authorization": f"Basic {login}"}):
                for kind in (JSON, {"Content-Type": "text/plain"}):
                    answer = ask(port, question, headers | kind | known)
                    assert answer.status_code in (400, 403, 421), (question, answer.text)
                    # SeaweedFS lets every page read that it was denied a list of the buckets.
                    denied = port == stack.settings.store_port and "<Code>AccessDenied</Code>" in answer.text
                    assert denied or "Access-Control-Allow-Origin" not in answer.headers, question
        preflight = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
        answer = ask(port, ("OPTIONS", asked[-1][1], None), headers | preflight)
        assert answer.headers.get("Access-Control-Allow-Origin") is None, (port, answer.headers)


def test_another_user_needs_the_log_in(stack: LocalStack) -> None:
    mine = stack.settings
    user, _, password = ensure_login(mine).partition(":")
    for port in (mine.prefect_port, mine.mlflow_port, mine.store_port):
        for question in questions(mine)[port]:
            with another_user():
                forged = ask(port, question, JSON | {"X-Forwarded-For": "127.0.0.1", "Authorization": "Basic eDp5"})
                assert ask(port, question, JSON).status_code in (401, 403), question
            assert forged.status_code in (400, 401, 403), question
    with another_user():
        found = requests.post(f"{mine.prefect_api}/flow_runs/filter", json={}, auth=(user, password), timeout=20)
        assert found.status_code == 200
        assert requests.get(mine.mlflow_uri, auth=(user, password), timeout=20).status_code == 200
        assert requests.get(f"{mine.prefect_api}/health", timeout=20).status_code == 200


def test_a_program_of_the_stacks_user_needs_none(stack: LocalStack) -> None:
    for port in (stack.settings.prefect_port, stack.settings.mlflow_port):
        assert ask(port, questions(stack.settings)[port][1 if port == stack.settings.mlflow_port else 0], JSON).ok
    assert event_is_let_in(stack, None) == "auth_success"
    # As every program of a browser does, or one that passes requests on.
    assert ask(stack.settings.prefect_port, ("GET", "/api/admin/settings", None), {"Cookie": "a=b"}).status_code == 401


@pytest.mark.parametrize("path", ["/api/events/in", "/api/events/out", "/api/logs/out"])
def test_websockets_are_closed_to_pages_and_to_other_users(stack: LocalStack, path: str) -> None:
    login = ensure_login(stack.settings)
    for headers in ({"Origin": "http://localhost:9"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        with pytest.raises(InvalidStatus) as refused:
            event_is_let_in(stack, login, path, headers)
        assert refused.value.response.status_code in (403, 421)
    with another_user():
        for token in (None, "slipway:wrong"):
            with pytest.raises(ConnectionClosed):
                event_is_let_in(stack, token, path)
        assert event_is_let_in(stack, login, path) == "auth_success"


def event_is_let_in(
    stack: LocalStack, token: str | None, path: str = "/api/events/in", headers: dict[str, str] | None = None
) -> str:
    """What a WebSocket of Prefect's answers to its first message."""
    url = f"ws://127.0.0.1:{stack.settings.prefect_port}{path}"
    with connect(url, subprotocols=["prefect"], additional_headers=headers, proxy=None) as socket:  # type: ignore[list-item]
        socket.send(json.dumps({"type": "auth", "token": token}))
        return str(json.loads(socket.recv(timeout=20))["type"])


class Page(http.server.BaseHTTPRequestHandler):
    """Serves the page, takes its report, and lets every page read `/open`: a server that is not closed."""

    html = b""
    reports: ClassVar[list[Any]]

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        if self.path == "/open":
            self.send_header("Access-Control-Allow-Origin", "*")
        self.end_headers()
        self.wfile.write(self.html)

    def do_POST(self) -> None:
        self.reports.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """No line per request."""


@pytest.fixture
def page() -> Iterator[tuple[type[Page], int]]:
    class Mine(Page):
        reports: ClassVar[list[Any]] = []

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mine) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Mine, server.server_address[1]
        server.shutdown()


SCRIPT = """<script>
const found = [];
async function read(name, url, options) {
  try {
    const answer = await fetch(url, options);
    if (answer.type !== "opaque" && answer.status !== 403) found.push(name);
  } catch (error) {}
}
function socket(url) {
  return new Promise(done => {
    const opened = new WebSocket(url, ["prefect"]);
    opened.onopen = () => { found.push("websocket " + url); opened.send('{"type": "auth"}'); done(); };
    opened.onerror = opened.onclose = () => done();
  });
}
(async () => {
  for (const {url, method, body} of ASKED) {
    await read("json " + method + " " + url, url, {method, body, headers: {"content-type": "application/json"}});
    await read("simple " + method + " " + url, url, {method, body});
    if (method !== "PUT") await read("blind", url, {method, body, mode: "no-cors"});
  }
  for (const url of SOCKETS) await socket(url);
  await fetch("/report", {method: "POST", body: JSON.stringify(found)});
})();
</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; the tests above send what it would")
def test_a_page_in_a_real_browser_reads_and_starts_nothing(
    stack: LocalStack, page: tuple[type[Page], int], tmp_path: Path
) -> None:
    handler, port = page
    hosts = ("localhost", "127.0.0.1", "page.example")
    asked = [
        {"url": f"http://{host}:{other}{path}", "method": method, "body": None if body is None else json.dumps(body)}
        for other, found in questions(stack.settings).items()
        for method, path, body in found
        for host in hosts
    ]
    opened = f"http://127.0.0.1:{port}/open"
    asked.append({"url": opened, "method": "GET", "body": None})
    sockets = [f"ws://{host}:{stack.settings.prefect_port}/api/events/in" for host in hosts]
    handler.html = SCRIPT.replace("ASKED", json.dumps(asked)).replace("SOCKETS", json.dumps(sockets)).encode()
    assert CHROMIUM is not None
    browser = subprocess.Popen(
        [
            *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-proxy-server"),
            *("--host-resolver-rules=MAP page.example 127.0.0.1", f"--user-data-dir={tmp_path / 'browser'}"),
            *("--remote-debugging-port=0", f"http://localhost:{port}/"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: handler.reports, "the page has asked everything")
    finally:
        browser.kill()
        browser.wait(20)
    assert handler.reports[0] == [f"simple GET {opened}"]

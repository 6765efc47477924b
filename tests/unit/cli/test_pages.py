"""What commands print for people is the page that the Prefect UI shows, and for programs JSON as ever."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from infra.cli.main import application
from infra.stack.programs import settings_environment
from tasks.delivery.preview import Preview, preview_rollout
from tasks.delivery.prune import Pruning, plan_pruning
from tasks.fleet.config import Fleet, serving_entry
from tasks.fleet.history import fleet_history
from tasks.policy import Policy
from tasks.records import ReplicaReport, Training, Verdict, VersionState
from tasks.reports import pages, terminal
from tasks.reports.page import Page
from tasks.settings import Settings, settings
from tasks.store import keys
from tasks.versions import catalog
from tests.helpers.saved_models import write_saved_model
from tests.helpers.versions import UNSIGNED, publish_version

WHY = "output 'y' differs | see [red]the log[/red]\nand **more**"


@pytest.fixture
def fleet(in_memory: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    """A fleet that serves version 1 of `MLP`, with one replica; version 2 was rejected. Commands work with it."""
    for name, value in settings_environment(in_memory).items():
        monkeypatch.setenv(name, value)
    settings.cache_clear()
    found = Fleet.connect(settings())
    for number in (1, 2):
        folder = write_saved_model(tmp_path / str(number))
        publish_version(
            found.store, UNSIGNED, "MLP", folder, signatures={}, golden=None, training=Training(), run="test"
        )
    catalog.decide(found.store, Verdict("MLP", 1, "accepted", "its answers are right", "test"))
    catalog.decide(found.store, Verdict("MLP", 2, "rejected", WHY, "test"))
    found.change({"MLP": serving_entry("MLP", found.base_path("MLP"), [1], {"stable": 1})}, "run 4711: final MLP 1")
    models = {"MLP": (VersionState(1, "AVAILABLE"),)}
    report = ReplicaReport("r1", "http://r1:8501", "r1:8500", 1, models, error=WHY)
    found.store.put(keys.replica_key(found.name, "r1"), report.to_json())
    yield found
    settings.cache_clear()


def shown(*command: str) -> str:
    done = CliRunner().invoke(application(command), command)
    assert done.exit_code in (0, 1), done.output
    assert not done.stderr
    return done.stdout


def previewed(fleet: Fleet) -> Preview:
    return preview_rollout(fleet, "MLP", 2, "blue-green", Policy.of(settings()))


PAGES: dict[str, tuple[tuple[str, ...], Callable[[Fleet], Page]]] = {
    "plan": (
        ("MLP", "2"),
        lambda fleet: pages.plan(preview_rollout(fleet, "MLP", 2, "blue-green", Policy.of(settings()))),
    ),
    "history": ((), lambda fleet: pages.history(fleet.name, fleet_history(fleet))),
}


@pytest.mark.parametrize("command", PAGES)
def test_a_command_prints_the_page_that_the_ui_shows(
    fleet: Fleet, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    arguments, page = PAGES[command]
    terminal.show(page(fleet))
    assert shown(command, *arguments) == capsys.readouterr().out


def test_replicas_and_versions_are_pages_with_reasons_as_they_were_given(fleet: Fleet) -> None:
    reason = "output 'y' differs | see [red]the log[/red] and **more**"
    assert shown("replicas").splitlines()[:5] == [
        "Replicas of fleet default",
        "",
        "Its newest config is number 1.",
        "",
        "REPLICA  STATE    CONFIG  SERVES          REST            GRPC     REPORTED  ERROR",
    ]
    assert reason in shown("replicas")
    rejected = next(line for line in shown("versions", "MLP").splitlines() if "rejected" in line)
    assert rejected.endswith(reason)


def test_json_has_the_records_themselves(fleet: Fleet) -> None:
    (replica,) = json.loads(shown("replicas", "--json"))
    assert replica["report"]["error"] == WHY
    versions = json.loads(shown("versions", "MLP", "--json"))
    assert [(v["manifest"]["version"], v["state"], v["served"]) for v in versions] == [
        (1, "accepted", True),
        (2, "rejected", False),
    ]


def test_a_pruning_is_listed_with_the_command_that_does_it(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    def choose(_store: object, _settings: object, model: str, keep: int) -> Pruning:
        return plan_pruning(fleet.store, fleet.trust, model, keep, champion=None)

    monkeypatch.setattr("tasks.delivery.prune.choose_versions", choose)
    listed = shown("prune", "MLP", "--keep", "1")
    assert "1 of 2 versions may go, " in listed
    assert listed.endswith("Nothing was deleted. `slipway prune MLP --keep 1 --yes` deletes 1.\n")

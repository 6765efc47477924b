"""Commands about a fleet whose name is mistyped."""

import contextlib
import importlib
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from infra.cli.main import application
from infra.stack.programs import settings_environment
from tasks.fleet.config import Fleet
from tasks.settings import Settings, settings
from tasks.store.base import Store
from tests.helpers.versions import UNSIGNED


@pytest.fixture
def fleet(in_memory: Settings, store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    """A fleet that serves nothing, in a store in memory that commands of this process work with; no flow runs."""
    for name, value in settings_environment(in_memory).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(importlib.import_module("infra.cli.fleet"), "running_flows", contextlib.nullcontext)
    monkeypatch.setattr(importlib.import_module("flows.reconcile"), "reconcile", lambda _: [])
    settings.cache_clear()
    known = Fleet(store, UNSIGNED, "staging", 1.0)
    known.change({}, "a rollout", always=True)
    yield known
    settings.cache_clear()


@pytest.mark.parametrize("command", [("history", "stagign"), ("reconcile", "--fleet", "stagign")])
def test_a_fleet_that_does_not_exist_is_told_with_the_one_that_was_meant(
    fleet: Fleet, command: tuple[str, ...]
) -> None:
    told = " ".join(CliRunner().invoke(application(command), command).stdout.split())
    assert "Fleet 'stagign' does not exist" in told
    assert "Is 'staging' meant? Fleets: staging." in told


def test_a_fleet_without_dead_rollouts_is_told_so(fleet: Fleet) -> None:
    command = ("reconcile", "--fleet", "staging")
    told = CliRunner().invoke(application(command), command).stdout
    assert told.strip() == "Fleet staging has no rollout whose run has died."

"""`slipway policy`, and `--policy` of the commands that deliver."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from infra.cli.main import application
from infra.stack.programs import settings_environment
from tasks.records import Manifest, Training, Verdict
from tasks.settings import Settings, settings
from tasks.store import keys
from tasks.store.connect import connect
from tasks.versions.catalog import decide
from tests.helpers.policies import policy as rule_of


@pytest.fixture
def in_a_store(in_memory: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Commands of this process work with an empty store in memory, and with a setting of the environment."""
    for name, value in settings_environment(in_memory).items():
        monkeypatch.setenv(name, value)
    for name in ("QUORUM", "ANSWER_BUDGET", "SOAK", "WATCH"):
        monkeypatch.delenv(f"SLIPWAY_{name}", raising=False)
    monkeypatch.setenv("SLIPWAY_SLOWDOWN", "7")
    settings.cache_clear()
    yield
    settings.cache_clear()


def slipway(*arguments: str) -> Result:
    return CliRunner().invoke(application(arguments), arguments)


def shown(printed: str) -> dict[str, list[str]]:
    """By its value's name, the rest of each line."""
    return {line.split()[0]: line.split()[1:] for line in printed.splitlines() if line.strip()}


def test_the_policy_of_a_model_is_shown_with_where_each_value_comes_from(in_a_store: None, tmp_path: Path) -> None:
    (tmp_path / "rule.toml").write_text("soak = 5\n[metrics.accuracy]\ntolerance = 0.125\n")
    before = shown(slipway("policy", "MLP").stdout)
    assert before["slowdown"] == ["7.0", "SLIPWAY_SLOWDOWN"]
    assert before["quorum"] == ["1.0", "default"]
    done = slipway("policy", "MLP", "set", str(tmp_path / "rule.toml"))
    assert done.exit_code == 0, done.stderr
    after = shown(slipway("policy", "MLP", "show").stdout)
    assert after["soak"] == ["5.0", "the", "model's", "own"]
    assert after["metrics.accuracy.tolerance"] == ["0.125", "the", "model's", "own"]
    assert after["slowdown"] == before["slowdown"]
    found = json.loads(slipway("policy", "MLP", "--json").stdout)
    assert (found["policy"]["soak"], found["from"]["soak"]) == (5.0, "the model's own")
    assert found["own"]["values"]["metrics"] == {"accuracy": {"tolerance": 0.125}}


def test_the_rule_that_counted_for_a_version_is_shown(in_a_store: None) -> None:
    store = connect(settings())
    for number in (6, 7):
        store.put(keys.manifest_key("MLP", number), Manifest("MLP", number, "", (), {}, None, Training()).to_json())
    decide(store, Verdict("MLP", 6, "accepted", "by an earlier release", "a run"))
    decide(store, Verdict("MLP", 7, "rejected", "it is slow", "a run", policy=rule_of(slowdown=3)))
    found = slipway("policy", "MLP", "--version", "7").stdout
    assert shown(found)["slowdown"] == ["3.0"]
    assert "MLP version 7 was rejected at " in found
    assert json.loads(slipway("policy", "MLP", "--version", "7", "--json").stdout)["policy"]["slowdown"] == 3.0
    refused = slipway("policy", "MLP", "set", "rule.toml", "--version", "7").stderr
    assert "The rule that counted for a version cannot be set" in refused
    assert "No rule is kept with MLP version 6" in slipway("policy", "MLP", "--version", "6").stderr
    assert "Version 8 of model 'MLP' does not exist" in slipway("policy", "MLP", "--version", "8").stderr


def test_a_policy_that_cannot_be_is_refused_before_anything_is_written(in_a_store: None, tmp_path: Path) -> None:
    (tmp_path / "rule.toml").write_text("soak = -5\n")
    refused = slipway("policy", "MLP", "set", str(tmp_path / "rule.toml"))
    assert refused.exit_code != 0
    assert "rule.toml: soak = -5 cannot be" in refused.stderr
    assert shown(slipway("policy", "MLP").stdout)["soak"] == ["30.0", "default"]


@pytest.mark.parametrize("arguments", [("set",), ("show", "rule.toml")])
def test_setting_needs_a_file_and_showing_takes_none(in_a_store: None, arguments: tuple[str, ...]) -> None:
    refused = slipway("policy", "MLP", *arguments)
    assert refused.exit_code != 0
    assert "`slipway policy MODEL set FILE` needs a file" in refused.stderr


@pytest.mark.parametrize(
    "command", [("release", "MLP"), ("rollout", "MLP", "7"), ("rollback", "MLP"), ("plan", "MLP", "7")]
)
def test_a_file_that_is_not_a_policy_is_refused_before_a_run_begins(
    in_a_store: None, tmp_path: Path, command: tuple[str, ...]
) -> None:
    (tmp_path / "rule.toml").write_text("answer_budgit = 1\n")
    refused = slipway(*command, "--policy", str(tmp_path / "rule.toml"))
    assert refused.exit_code != 0
    assert "a policy has no value answer_budgit. Is answer_budget meant?" in refused.stderr

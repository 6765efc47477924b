"""What the command line refuses: one clear message, and nothing is changed.

Commands run in this process, with its Prefect server; two as processes in tests/integration/stack/test_delivery.py.
"""

import contextlib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from infra.cli.main import application
from tasks.fleet.config import Fleet
from tasks.records import ReplicaReport
from tasks.store import keys
from tests.helpers.models import publish_affine

MLP = ["--factory", "tasks.models:mlp"]


@pytest.fixture
def served(fleet: Fleet, small_models: Path, flows: None, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """A fleet with a replica that has just reported, and version 1 of `affine` in its store."""
    for command in ("delivery", "fleet"):
        monkeypatch.setattr(f"infra.cli.{command}.running_flows", contextlib.nullcontext)
    report = ReplicaReport("r1", "http://127.0.0.1:1", "127.0.0.1:1", config=0, models={})
    fleet.store.put(keys.replica_key(fleet.name, "r1"), report.to_json())
    publish_affine(fleet, small_models, 1)
    return fleet


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["release", "New"], "no version of it was ever made"),
        (["release", "no/name"], "Model name 'no/name' cannot be served in a URL"),
        (["release", "New", "--factory", "nowhere.at_all:make"], "no module 'nowhere'"),
        (["release", "New", *MLP, "--data", "absent.npz"], "No data at 'absent.npz'"),
        (["release", "New", "--saved-model", "/nowhere"], "/nowhere is not a folder"),
        (["release", "New", *MLP, "--inputs", "inputs.json"], "--inputs goes with --saved-model"),
        (["publish", "tests", "--model", "New"], "is not a SavedModel"),
        (["predict", "New", "absent.json"], "absent.json cannot be read"),
        (["rollback", "New"], "nothing to go back to"),
        (["rollout", "affine", "7"], "Version 7 of model 'affine' does not exist. Published: 1."),
        (["rollout", "affine", "1", "--force", " "], "--force needs a reason"),
        (["rollout", "affine", "1", "--fleet", "tset"], "Fleet 'tset' has no replica: none has ever reported."),
        (["release", "New", "--fleet", "tset"], "Is 'test' meant?"),
        (["prune", "affine", "--keep", "0"], "0"),
    ],
)
def test_bad_input_gets_one_clear_message_and_changes_nothing(served: Fleet, command: list[str], said: str) -> None:
    before = served.store.keys("models/"), served.store.keys("fleets/")
    done = CliRunner().invoke(application(command), command)
    assert done.exit_code in (1, 2), done.output
    assert said in done.stderr
    assert done.stderr.startswith("slipway: ")
    assert (served.store.keys("models/"), served.store.keys("fleets/")) == before

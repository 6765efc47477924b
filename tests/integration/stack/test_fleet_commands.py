"""A fleet from the command line and the UI's form: plan, rollout, replicas, history, reconcile, prune; the gate."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.data.sources import load_dataset
from tasks.store.base import Store
from tasks.store.connect import connect
from tasks.versions import catalog
from tests.helpers.local import LocalStack, until
from tests.helpers.versions import claimed_numbers

ROOT = Path(__file__).parents[3]
BIN = Path(sys.executable).parent

# The first test waits for the stack, others for whole releases.
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def stack_store(stack: LocalStack) -> Store:
    return connect(stack.settings)


@pytest.fixture(scope="module")
def rolled_out(stack: LocalStack, small_models: Path) -> list[int]:
    """Three versions of `Tool`, of which the second serves: released, published and rolled out, published."""
    said(stack, "release", "Tool", "--saved-model", str(small_models / "affine" / "1"))
    said(stack, "publish", str(small_models / "affine" / "2"), "--model", "Tool")
    planned = json.loads(shown(stack, "plan", "Tool", "2", "--json"))
    assert [change["loads"] for change in planned["plan"]["changes"]] == [["Tool-candidate 2"], ["Tool 2"]]
    assert "Tool version 2 is accepted and serves." in said(stack, "rollout", "Tool", "2")
    shown(stack, "publish", str(small_models / "affine" / "3"), "--model", "Tool")
    return [1, 2, 3]


def said(stack: LocalStack, *command: str) -> str:
    """What a command says that runs a flow."""
    done = stack.slipway(*command)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def shown(stack: LocalStack, *command: str) -> str:
    """What a command says that runs none."""
    done = stack.slipway_here(*command)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_plan_is_shown_with_memory_and_steps_and_changes_nothing(stack: LocalStack, rolled_out: list[int]) -> None:
    before = shown(stack, "history", "--json")
    plan = shown(stack, "plan", "Tool", "3", "--strategy", "labels")
    assert "Tool version 3 to fleet default\n" in plan
    assert "Strategy labels, from config " in plan
    assert "Tool stable: none → 3" in plan
    assert re.search(r"/v1/models/Tool/labels/stable +none +none +3\n", plan)
    assert "Memory is an estimate" in plan
    assert "1. Finish or abort a rollout of Tool in fleet default whose run is dead." in plan
    assert "4. Soak it: ask Tool-candidate again and again for 30 s." in plan
    assert shown(stack, "history", "--json") == before


def test_replicas_and_history_tell_what_is_served_and_since_when_and_why(
    stack: LocalStack, rolled_out: list[int]
) -> None:
    (replica,) = json.loads(shown(stack, "replicas", "--json"))
    assert (replica["state"], replica["report"]["replica"]) == ("ready", "r1")
    assert "Tool 2" in shown(stack, "replicas", "default")
    newest, *_ = json.loads(shown(stack, "history", "default", "--last", "1", "--json"))
    assert newest["changes"] == ["Tool-candidate is no longer served", "Tool serves 2, before: 1"]
    assert newest["run"]
    assert f"{newest['number']}" in said(stack, "history")


def test_a_fleet_without_dead_rollouts_has_nothing_to_reconcile(stack: LocalStack, rolled_out: list[int]) -> None:
    assert "has no rollout whose run has died" in said(stack, "reconcile")


@pytest.mark.soak
def test_a_model_worse_than_what_serves_gets_no_number_unless_a_reason_is_given(
    stack: LocalStack, stack_store: Store, tmp_path: Path
) -> None:
    digits = load_dataset("mnist-5k", split_seed=0)
    np.savez(tmp_path / "few.npz", x=digits.train.features["x"][:1000], y=digits.train.labels["y"][:1000])
    train = ("release", "Gated", "--factory", "tasks.models:mlp", "--data", str(tmp_path / "few.npz"), "--epochs")
    said(stack, *train, "12")
    refused = stack.slipway(*train, "1")
    assert refused.returncode == 1
    assert "slipway: The trained model is worse than version 1, which serves: accuracy 0." in refused.stderr
    assert "`--force REASON` publishes it anyway" in refused.stderr
    assert claimed_numbers(stack_store, "Gated") == [1]
    said(stack, *train, "1", "--force", "the first one must go")
    gate = catalog.manifest(stack_store, "Gated", 2).gate
    assert gate is not None
    assert (gate.live_version, gate.forced) == (1, "the first one must go")
    assert gate.trained["accuracy"] < gate.live["accuracy"]
    assert artifact(stack, "gate-gated").startswith("# Gated passes the gate")


# Deployment: its parameters, the artifact that a run of it leaves, and how that begins or what it says.
LOOKS: dict[str, tuple[dict[str, Any], str, str]] = {
    "plan": ({"model": "Tool", "version": 3}, "plan-default-tool", "# Tool version 3 to fleet default"),
    "replicas": ({}, "replicas-default", "# Replicas of fleet default"),
    "history": ({}, "history-default", "# History of fleet default"),
    "prune": ({"model": "Tool", "keep": 1}, "prune-tool", "1 of 3 versions may go"),
}


@pytest.fixture(scope="module")
def looking(stack: LocalStack, rolled_out: list[int]) -> dict[str, str]:
    """A run of each of these, begun from the UI's form, all at once: for each what asks for its state."""
    api, begun = stack.settings.prefect_api, {}
    for name, (parameters, _, _) in LOOKS.items():
        found = stack.http.get(f"{api}/deployments/name/{name}/{name}", timeout=30).json()
        body = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
        run = stack.http.post(f"{api}/deployments/{found['id']}/create_flow_run", json=body, timeout=30).json()
        begun[name] = f"{api}/flow_runs/{run['id']}"
    return begun


@pytest.mark.parametrize("name", LOOKS)
def test_an_operator_looks_from_the_uis_form(stack: LocalStack, looking: dict[str, str], name: str) -> None:
    _, key, beginning = LOOKS[name]

    def ended() -> bool:
        state = stack.http.get(looking[name], timeout=30).json()["state"]
        assert state["type"] not in ("FAILED", "CRASHED"), state["message"]
        return bool(state["type"] == "COMPLETED")

    until(ended, f"{name} has run", 180)
    assert beginning in artifact(stack, key)


def artifact(stack: LocalStack, key: str) -> str:
    found = stack.http.get(f"{stack.settings.prefect_api}/artifacts/{key}/latest", timeout=30).json()
    return str(found["data"])


@pytest.fixture(scope="module")
def automated(stack: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The automation of docs/events.md, made as that page says."""
    text = (ROOT / "docs" / "events.md").read_text()
    blocks = dict(re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))
    folder, environment = tmp_path_factory.mktemp("automation"), stack.env | {"PATH": f"{BIN}:{os.environ['PATH']}"}

    def run(command: str) -> str:
        return subprocess.run(
            shlex.split(command), cwd=folder, env=environment, check=True, timeout=120, capture_output=True, text=True
        ).stdout

    inspect, create = blocks[""].splitlines()
    found = re.search(r"'id': '([0-9a-f-]{36})'", run(inspect))
    assert found is not None
    (folder / create.split()[-1]).write_text(blocks["yaml"].replace("PRUNE", found[1]))
    run(create)
    yield
    run("prefect automation delete 'prune when a version is accepted'")


def test_an_automation_acts_on_what_is_decided(stack: LocalStack, rolled_out: list[int], automated: None) -> None:
    """A rollout by the command line tells of it, and the documented automation has the model pruned."""
    said(stack, "rollout", "Tool", "2")
    api = stack.settings.prefect_api
    asked = {"filter": {"event": {"prefix": ["slipway."]}, "any_resource": {"id": ["slipway.version.Tool.2"]}}}

    def told() -> list[str]:
        found = stack.http.post(f"{api}/events/filter", json=asked, timeout=30).json()["events"]
        return [event["event"] for event in sorted(found, key=lambda event: str(event["occurred"]))]

    rollout = ["slipway.rollout.began", "slipway.version.accepted", "slipway.rollout.finished"]
    until(lambda: told()[-3:] == rollout, "the rollout is told", 60)
    assert "slipway.version.published" in told(), "which `slipway publish` tells, or a release"

    def pruned() -> list[dict[str, Any]]:
        body = {"flow_runs": {"name": {"any_": ["prune Tool"]}}}
        found: list[dict[str, Any]] = stack.http.post(f"{api}/flow_runs/filter", json=body, timeout=30).json()
        return [run for run in found if run["parameters"] == {"model": "Tool", "keep": 10, "yes": True}]

    until(lambda: pruned() and pruned()[0]["state"]["type"] == "COMPLETED", "the model is pruned", 180)
    assert len(pruned()) == 1


def test_pruning_lists_first_and_deletes_when_told_to(
    stack: LocalStack, stack_store: Store, rolled_out: list[int], small_models: Path
) -> None:
    listed = shown(stack, "prune", "Tool", "--keep", "1")
    assert "Nothing was deleted. `slipway prune Tool --keep 1 --yes` deletes 1" in listed
    assert "served by fleet default" in listed
    assert catalog.published(stack_store, "Tool") == [1, 2, 3]
    assert "1 of 3 versions deleted" in said(stack, "prune", "Tool", "--keep", "1", "--yes")
    assert catalog.published(stack_store, "Tool") == [2, 3]
    assert "0 of 2 versions may go" in shown(stack, "prune", "Tool", "--keep", "1")
    done = stack.slipway("rollback", "Tool", "--to", "1")
    assert done.returncode == 1
    assert "Version 1 of model 'Tool' was deleted" in done.stderr
    published = shown(stack, "publish", str(small_models / "affine" / "1"), "--model", "Tool", "--json")
    assert json.loads(published)["version"] == 4

"""One name for one thing: function, step, flow, deployment and command."""

import inspect
from string import Formatter
from typing import Any

import pytest
import yaml
from prefect import Flow, Task

from flows import fleet, prune, reconcile, release, rollback, rollout, steps, train
from infra.cli.main import COMMANDS
from infra.stack.deployments import DECLARATION

STEPS: dict[str, Task[..., Any]] = {name: value for name, value in vars(steps).items() if isinstance(value, Task)}
MODULES = (fleet, prune, reconcile, release, rollback, rollout, train)
FLOWS: dict[str, Flow[..., Any]] = {
    value.name: value for module in MODULES for value in vars(module).values() if isinstance(value, Flow)
}
DEPLOYMENTS: list[dict[str, Any]] = yaml.safe_load(DECLARATION.read_text())["deployments"]
# `slipway release --saved-model` is the one; training alone is for the Prefect UI, where its result can be looked at.
WITHOUT_COMMAND = {"release-saved-model", "train"}


@pytest.mark.parametrize("name", STEPS)
def test_a_step_is_shown_under_its_functions_name(name: str) -> None:
    found = STEPS[name]
    assert found.fn.__name__ == name
    assert found.name == name.replace("_", " ")
    assert str(found.task_run_name).split()[0] == found.name.split()[0]


@pytest.mark.parametrize("name", STEPS)
def test_a_steps_run_is_called_by_its_own_arguments(name: str) -> None:
    fields = [field for _, field, _, _ in Formatter().parse(str(STEPS[name].task_run_name)) if field]
    assert {field.partition(".")[0] for field in fields} <= inspect.signature(STEPS[name].fn).parameters.keys()


@pytest.mark.parametrize("name", FLOWS)
def test_a_flow_is_shown_under_its_functions_name(name: str) -> None:
    found = FLOWS[name]
    assert found.fn.__name__ == name.replace("-", "_")
    assert str(found.flow_run_name).split()[0] == name.partition("-")[0]


def test_each_flow_is_deployed_under_its_own_name() -> None:
    assert {d["name"]: d["entrypoint"].rpartition(".")[2] for d in DEPLOYMENTS} == {
        name: found.fn.__name__ for name, found in FLOWS.items()
    }


def test_each_flow_is_a_command_of_the_same_name() -> None:
    assert FLOWS.keys() - COMMANDS.keys() == WITHOUT_COMMAND

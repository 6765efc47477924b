"""A rollout does what its preview says, in the same order, whatever its strategy."""

import importlib
from typing import Any

import pytest

from flows.rollout import rollout
from tasks.delivery import strategies
from tasks.delivery.plan import plan_rollout
from tasks.delivery.preview import steps
from tasks.delivery.rollout import RolloutEnd
from tasks.delivery.stages import Stage
from tasks.fleet.config import FleetConfig, serving_entry, with_entries
from tasks.processes import this_process
from tasks.records import Manifest, RolloutRecord, Training, now
from tasks.serving.client import Target
from tasks.validation.checks.base import Expected
from tasks.wire.protos import ModelServerConfig
from tests.helpers.policies import POLICY

VERBS = {"Serve": "serve", "Find": "serve", "Ask": "validate", "Soak": "soak", "Accept": "accept"}


class Recorder:
    """Has the steps of a rollout recorded and not taken."""

    def __init__(self, patch: pytest.MonkeyPatch, **results: Any) -> None:
        self.taken: list[tuple[str, ...]] = []
        self._results = results
        module = importlib.import_module("flows.rollout")
        for name in (
            "require_replicas",
            "find_dead_rollouts",
            "choose_policy",
            "begin_rollout",
            "read_expected",
            "make_plan",
        ):
            patch.setattr(module, name, self._step(name))
        for name in (
            "await_config",
            "serve",
            "validate",
            "soak",
            "accept",
            "finish_rollout",
            "record_in_mlflow",
            "tell_of_replicas",
            "abort",
        ):
            patch.setattr(module, name, self._step(name))

    def _step(self, name: str) -> Any:
        def take(*arguments: Any, **_: Any) -> Any:
            asked = [a.target if isinstance(a, Stage) else a for a in arguments if isinstance(a, Stage | Target)]
            self.taken.append((name, str(*asked)))
            return self._results.get(name)

        return take


class Passed:
    def require_passed(self) -> None:
        """It has."""


@pytest.mark.parametrize("strategy", strategies.known())
@pytest.mark.parametrize(("version", "soak"), [(5, 0.0), (7, 0.0), (7, 30.0)])
def test_a_rollout_does_what_its_preview_says(
    strategy: str, version: int, soak: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = serving_entry("MLP", "s3://b/models/MLP", [5, 6], {"stable": 6})
    current = FleetConfig(9, with_entries(ModelServerConfig(), {"MLP": entry}))
    plan = plan_rollout(current, "MLP", version, strategy, ["r1", "r2"], soak)
    record = RolloutRecord("MLP", version, strategy, "a run", this_process(), now(), soak=soak)
    end = RolloutEnd(record, "finished", "It serves.")
    results = {
        "find_dead_rollouts": [],
        "begin_rollout": record,
        "make_plan": plan,
        "validate": Passed(),
        "finish_rollout": end,
    }
    recorder = Recorder(monkeypatch, **results)
    rollout.fn("MLP", version, "test", strategy)

    said = steps(plan, "test", 6, Expected(Manifest("MLP", version, "", (), {}, None, Training()), POLICY))
    assert said[0].startswith("Finish or abort a rollout of MLP in fleet test whose run is dead")
    assert said[-1].startswith("If anything is wrong: abort, and version 6 serves again")
    begun = ["require_replicas", "find_dead_rollouts", "choose_policy", "begin_rollout", "read_expected", "make_plan"]
    assert [name for name, _ in recorder.taken[:6]] == begun
    decisive = [step for step in recorder.taken if step[0] in VERBS.values()]
    assert [VERBS[sentence.partition(" ")[0]] for sentence in said[1:-1]] == [name for name, _ in decisive]
    for sentence, (_, target) in zip(said[1:-1], decisive, strict=True):
        assert target in sentence
    assert [name for name, _ in recorder.taken[-3:]] == ["finish_rollout", "record_in_mlflow", "tell_of_replicas"]

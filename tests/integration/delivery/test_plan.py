"""What a plan says is what a rollout does; and what it did stands in the fleet's history."""

from pathlib import Path

import pytest

from flows.rollout import rollout
from tasks.delivery.plan import stage_entries
from tasks.delivery.preview import preview_rollout
from tasks.fleet.config import Fleet
from tasks.fleet.history import fleet_history
from tasks.versions import catalog
from tests.helpers.models import publish_affine
from tests.helpers.policies import POLICY
from tests.helpers.replica import LocalReplica

pytestmark = pytest.mark.usefixtures("flows")


def test_a_rollout_does_what_its_plan_said_and_the_history_tells_it(
    fleet: Fleet, replica: LocalReplica, small_models: Path
) -> None:
    for number in (1, 2):
        publish_affine(fleet, small_models, number)
    rollout("affine", 1, fleet.name)
    found = preview_rollout(fleet, "affine", 2, "blue-green", POLICY)
    assert fleet.newest().number == found.plan.config
    (mine,) = found.replicas
    sizes = [catalog.manifest(fleet.store, "affine", n).size for n in (1, 2)]
    assert (mine.replica, mine.downloads) == ("r1", sizes[1])
    assert mine.memory == (sizes[0] + sizes[1], sizes[0] + 2 * sizes[1])
    assert [change.loads for change in mine.changes] == [("affine-candidate 2",), ("affine 2",)]

    rollout("affine", 2, fleet.name)
    for number, stage in enumerate(found.plan.stages, found.plan.config + 1):
        entries = stage_entries(stage, fleet.base_path("affine"))
        assert {name: fleet.read(number).entry(name) for name in entries} == entries
    live, trial, *_ = fleet_history(fleet)
    assert live.changes == ("affine-candidate is no longer served", "affine serves 2, before: 1")
    assert trial.changes == ("affine-candidate serves 2",)
    assert live.run == trial.run is not None
    assert preview_rollout(fleet, "affine", 2, "blue-green", POLICY).warnings == ("Version 2 serves already.",)

"""What a rollout asks of the store does not grow with the models beside it."""

from pathlib import Path

import pytest

from tasks.delivery.recover import find_dead_rollouts
from tasks.delivery.rollout import accept, begin_rollout, finish_rollout, make_plan, serve
from tasks.fleet import replicas
from tasks.fleet.config import Fleet, serving_entry
from tasks.records import ReplicaReport, Training
from tests.helpers.policies import POLICY
from tests.helpers.saved_models import write_saved_model
from tests.helpers.stores import MemoryStore, WatchedStore
from tests.helpers.versions import UNSIGNED, publish_version


def asked(models: int, folder: Path) -> list[str]:
    """The requests of a rollout beside so many models."""
    seen: list[str] = []
    fleet = Fleet(WatchedStore(MemoryStore(), lambda method, _: seen.append(method)), UNSIGNED, "test", 5.0)
    directory = write_saved_model(folder / str(models))
    for name in ("mine", *(f"other{number}" for number in range(models))):
        publish_version(
            fleet.store, UNSIGNED, name, directory, signatures={}, golden=None, training=Training(), run="test"
        )
        if name != "mine":
            fleet.change({name: serving_entry(name, fleet.base_path(name), [1], {})}, "test")
    fleet.put_report(ReplicaReport("r1", "http://r1:8501", "r1:8500", fleet.newest().number, {}))
    seen.clear()
    replicas.require_replicas(fleet)
    assert find_dead_rollouts(fleet, "mine") == []
    record = begin_rollout(fleet, "mine", 1, "blue-green", "a run", POLICY)
    for stage in make_plan(fleet, record).stages:
        config = serve(fleet, record, stage)
        fleet.put_report(ReplicaReport("r1", "http://r1:8501", "r1:8500", config.number, {}))
        replicas.await_config(fleet, config, "mine", POLICY)
    accept(fleet, record)
    finish_rollout(fleet, record)
    return seen


@pytest.mark.parametrize("models", [10, 100])
def test_a_rollout_asks_no_more_of_the_store_beside_many_models_than_beside_one(models: int, tmp_path: Path) -> None:
    few, many = asked(1, tmp_path), asked(models, tmp_path)
    assert len(few) == len(many) < 100

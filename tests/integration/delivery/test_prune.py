"""Old versions are deleted, and never one that is needed, or half of one."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tasks.delivery.prune import delete_version, finish_pruning, plan_pruning, still_needed
from tasks.delivery.rollout import begin_rollout, make_plan
from tasks.delivery.rollout import serve as serve_stage
from tasks.errors import NotFound
from tasks.fleet.config import Fleet, serving_entry
from tasks.settings import Settings
from tasks.store import keys
from tasks.versions import catalog
from tests.helpers.models import publish_affine
from tests.helpers.policies import POLICY
from tests.helpers.versions import UNSIGNED


@pytest.fixture
def published(fleet: Fleet, small_models: Path) -> list[int]:
    """Four versions of `affine`, of which the fleet serves the first."""
    numbers = [publish_affine(fleet, small_models, 1 + n % 3, golden=1 + n % 3) for n in range(4)]
    serve(fleet, 1)
    return numbers


def serve(fleet: Fleet, *numbers: int, **labels: int) -> None:
    fleet.change({"affine": serving_entry("affine", fleet.base_path("affine"), numbers, labels)}, "test")


def going(fleet: Fleet, keep: int, champion: int | None = None) -> list[int]:
    return [fate.version for fate in plan_pruning(fleet.store, fleet.trust, "affine", keep, champion).going]


def test_what_nothing_needs_is_deleted_whole_and_its_number_stays_taken(
    fleet: Fleet, published: list[int], small_models: Path
) -> None:
    store = fleet.store
    assert going(fleet, 1) == [2, 3]
    assert going(fleet, 1, champion=2) == [3]
    deleted = [delete_version(store, UNSIGNED, "affine", n, "test") for n in (2, 3)]
    assert [(v.version, v.state) for v in deleted if v] == [(2, "retired"), (3, "retired")]
    assert catalog.published(store, "affine") == [1, 4]
    for number in (2, 3):
        assert store.keys(keys.version_prefix("affine", number)) == []
        with pytest.raises(NotFound, match=f"Version {number} of model 'affine' was deleted"):
            catalog.manifest(store, "affine", number)
    assert delete_version(store, UNSIGNED, "affine", 2, "test")
    assert going(fleet, 1) == []
    assert publish_affine(fleet, small_models, 1) == 5


def test_what_a_fleet_needs_stays_even_if_it_is_needed_only_since_the_list_was_made(
    fleet: Fleet, published: list[int]
) -> None:
    other = Fleet(fleet.store, fleet.trust, "other", 30.0)
    serve(other, 2, 3, stable=3)
    assert going(fleet, 1) == []
    serve(other, 3)
    assert going(fleet, 1) == [2]
    serve(other, 2)
    assert not delete_version(fleet.store, fleet.trust, "affine", 2, "test")
    assert catalog.published(fleet.store, "affine") == published


def test_a_rollout_keeps_what_it_brings_and_what_it_would_go_back_to(fleet: Fleet, published: list[int]) -> None:
    record = begin_rollout(fleet, "affine", 2, "blue-green", "test", POLICY)
    assert going(fleet, 1) == [3]
    for stage in make_plan(fleet, record).stages:
        serve_stage(fleet, record, stage)
    assert fleet.newest().versions("affine") == [2]
    assert still_needed(fleet.store, fleet.trust, "affine")[1] == ["what an abort in fleet test would restore"]
    assert going(fleet, 1) == [3]


def test_a_pruning_that_died_leaves_an_invisible_version_and_the_next_one_finishes(
    fleet: Fleet, published: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Died(BaseException):
        pass

    def die(*_: object) -> None:
        raise Died

    monkeypatch.setattr(type(fleet.store), "delete_all", die)
    with pytest.raises(Died):
        delete_version(fleet.store, fleet.trust, "affine", 2, "test")
    monkeypatch.undo()
    assert catalog.published(fleet.store, "affine") == [1, 3, 4]
    assert fleet.store.keys(keys.version_prefix("affine", 2))
    assert finish_pruning(fleet.store, Settings(), "affine") == [2]
    assert fleet.store.keys(keys.version_prefix("affine", 2)) == []
    assert finish_pruning(fleet.store, Settings(), "affine") == []


def test_two_prunings_at_once_do_what_one_does(fleet: Fleet, published: list[int]) -> None:
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda n: delete_version(fleet.store, fleet.trust, "affine", n, "test"), [2, 3] * 4))
    assert all(done)
    assert catalog.published(fleet.store, "affine") == [1, 4]
    assert fleet.store.keys(keys.version_prefix("affine", 2)) == []

"""The same is not made, or published, twice; whoever dies, or comes second, leaves one version."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import AlreadyPublished, StoreError, StoreUnreachable
from tasks.records import Build, DatasetRef, Manifest, Training
from tasks.store import keys
from tasks.store.base import Store
from tasks.versions import catalog
from tasks.versions.known import find_same_content, find_same_training, training_identity
from tasks.versions.publish import publish
from tests.helpers.saved_models import write_saved_model
from tests.helpers.stores import WatchedStore
from tests.helpers.versions import UNSIGNED

TRAINING = Training(
    recipe="shop.prices",
    settings={"units": 8, "rate": 0.5},
    data="/shop/prices.csv",
    label="price",
    seed=1,
    epochs=3,
    code_version="sha256:abc",
    dataset=DatasetRef("prices", "ab" * 32, 0, "key"),
)
OTHER_DATA = DatasetRef("prices", "cd" * 32, 0, "key")
OTHER_SPLIT = DatasetRef("prices", "ab" * 32, 1, "key")


@pytest.fixture
def build(tmp_path: Path) -> Build:
    return Build("Prices", str(write_saved_model(tmp_path / "model")), {}, None, TRAINING)


def published(store: Store, build: Build, again: bool = False) -> Manifest:
    return publish(store, UNSIGNED, build, "test", again=again)


@pytest.mark.parametrize(
    "changed",
    [
        {"recipe": "shop.rents"},
        {"recipe": None, "factory": "shop.prices:make"},
        {"settings": {"units": 16, "rate": 0.5}},
        {"methods": {"predict": "call"}},
        {"label": "rent"},
        {"seed": 2},
        {"epochs": 4},
        {"code_version": "sha256:def"},
        {"dataset": OTHER_DATA},
        {"dataset": OTHER_SPLIT},
    ],
)
def test_whatever_decides_a_training_is_part_of_its_identity(changed: dict[str, Any]) -> None:
    assert training_identity(replace(TRAINING, **changed)) != training_identity(TRAINING)


def test_where_the_data_lay_and_what_came_of_it_is_not() -> None:
    same = replace(
        TRAINING,
        data="/elsewhere.csv",
        settings={"rate": 0.5, "units": 8},
        metrics={"mae": 3.0},
        mlflow_run="run",
        dataset=DatasetRef("elsewhere", "ab" * 32, 0, "other key", "hash"),
    )
    assert training_identity(same) == training_identity(TRAINING)


def test_what_a_version_was_made_from_and_holds_is_found(store: Store, build: Build) -> None:
    assert find_same_training(store, "Prices", TRAINING) is None
    assert find_same_content(store, build) is None
    number = published(store, build).version
    for found, why in (
        (find_same_training(store, "Prices", TRAINING), "was made from the same data, code and seed"),
        (find_same_content(store, build), "has the same content"),
    ):
        assert found is not None
        assert (found.model, found.version) == ("Prices", number)
        assert found.sentence.startswith(f"Nothing new: version {number} {why}.")
    assert find_same_training(store, "Rents", TRAINING) is None
    assert find_same_content(store, replace(build, model="Rents")) is None


def test_what_came_to_the_same_by_other_code_is_not_trained_a_second_time(store: Store, build: Build) -> None:
    published(store, build)
    other = replace(TRAINING, code_version="sha256:def")
    store.create(keys.made_key("Prices", training_identity(other)), b'{"version": 7}')  # of a version that never was
    assert find_same_training(store, "Prices", other) is None
    assert find_same_content(store, replace(build, training=other)) is not None
    found = find_same_training(store, "Prices", other)
    assert found is not None
    assert found.version == 1


def test_the_same_content_is_published_once_unless_it_is_asked_for(store: Store, build: Build) -> None:
    assert published(store, build).version == 1
    with pytest.raises(AlreadyPublished, match="Version 1 of Prices has the same content"):
        published(store, build)
    assert catalog.published(store, "Prices") == [1]
    assert published(store, build, again=True).version == 3
    found = find_same_content(store, build)
    assert found is not None
    assert found.version == 1


def test_a_version_that_was_deleted_is_made_again(store: Store, build: Build) -> None:
    catalog.withdraw(store, "Prices", published(store, build).version)
    assert find_same_training(store, "Prices", TRAINING) is None
    assert published(store, build).version == 2
    found = find_same_training(store, "Prices", TRAINING)
    assert found is not None
    assert found.version == 2


def before_manifest(number: int, act: Any) -> Any:
    def watch(method: str, key: str) -> None:
        if method == "create" and key == keys.manifest_key("Prices", number):
            act()

    return watch


def test_a_publisher_that_dies_before_its_manifest_leaves_nothing_that_counts(store: Store, build: Build) -> None:
    def die() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        published(WatchedStore(store, before_manifest(1, die)), build)
    assert find_same_training(store, "Prices", TRAINING) is None
    assert find_same_content(store, build) is None
    assert published(store, build).version == 2
    assert catalog.published(store, "Prices") == [2]


def test_of_two_publishers_at_once_one_ends_up_with_a_version(store: Store, build: Build) -> None:
    with pytest.raises(StoreError, match="Number 1 of Prices was closed or taken"):
        published(WatchedStore(store, before_manifest(1, lambda: published(store, build))), build)
    assert catalog.published(store, "Prices") == [2]
    found = find_same_content(store, build)
    assert found is not None
    assert found.version == 2


def test_a_publisher_whose_store_goes_away_may_try_again(store: Store, build: Build) -> None:
    def away() -> None:
        raise StoreUnreachable("away")

    with pytest.raises(StoreUnreachable):
        published(WatchedStore(store, before_manifest(1, away)), build)
    assert published(store, build).version == 2

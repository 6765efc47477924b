"""A trained model is compared with the version that serves, asked through a live replica."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from tasks.data.dataset import Dataset
from tasks.data.held_out import HeldOut, held_out_examples, save_held_out
from tasks.errors import InvalidInput, ServingUnreachable
from tasks.fleet import replicas
from tasks.fleet.config import Fleet, serving_entry
from tasks.records import Build, DatasetRef, Training
from tasks.savedmodel.read import SavedModelFolder
from tasks.store import keys
from tasks.validation.gate import compare_with_live
from tests.helpers.policies import POLICY
from tests.helpers.replica import LocalReplica
from tests.helpers.versions import publish_version

WEIGHTS_1 = np.sin(np.arange(20, dtype=np.float32)).reshape(4, 5)
WEIGHTS_2 = np.cos(np.arange(15, dtype=np.float32)).reshape(5, 3)


@pytest.fixture
def build(fleet: Fleet, small_models: Path, tmp_path: Path) -> Build:
    """A model that is right about 200 held-out examples, of which the small `mlp` is wrong about every fourth."""
    x = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
    said = (np.maximum(x @ WEIGHTS_1, 0) @ WEIGHTS_2).argmax(axis=1)
    y = np.where(np.arange(200) % 4 == 0, (said + 1) % 3, said).astype(np.int64)
    key = keys.held_out_key("random", "ab" * 32, 0)
    dataset = Dataset("random", x[:1], y[:1], x[:1], y[:1], x, y, "ab" * 32, 0)
    save_held_out(dataset, tmp_path / "held-out.npz")
    fleet.store.create(key, (tmp_path / "held-out.npz").read_bytes())
    metrics = {"accuracy": 1.0, **{f"accuracy_class_{c}": 1.0 for c in np.unique(y)}}
    training = Training(dataset=DatasetRef("random", "ab" * 32, 0, key), metrics=metrics)
    folder = small_models / "mlp" / "1"
    return Build("mlp", str(folder), SavedModelFolder.read(folder).signatures, "", training)


def held_out(fleet: Fleet, build: Build) -> HeldOut | None:
    return held_out_examples(fleet.store, build.training.dataset)


def worse(build: Build) -> Build:
    metrics = {**build.training.metrics, "accuracy": 0.5}
    return dataclasses.replace(build, training=dataclasses.replace(build.training, metrics=metrics))


def serve_mlp(fleet: Fleet, build: Build) -> None:
    version = publish_version(
        fleet.store,
        fleet.trust,
        "mlp",
        Path(build.directory),
        signatures=build.signatures,
        golden=None,
        training=Training(),
        run="test",
    ).version
    entry = serving_entry("mlp", fleet.base_path("mlp"), [version], {})
    replicas.await_config(fleet, fleet.change({"mlp": entry}, "test"), "mlp")


def test_where_nothing_serves_a_model_passes_and_the_comparison_says_so(fleet: Fleet, build: Build) -> None:
    comparison = compare_with_live(fleet, build, POLICY, held_out=held_out(fleet, build))
    comparison.require_passed()
    assert comparison.notes == ("Not compared: fleet 'test' serves no version of mlp.",)


def test_the_live_version_is_asked_the_held_out_examples_of_the_new_training(
    fleet: Fleet, replica: LocalReplica, build: Build
) -> None:
    serve_mlp(fleet, build)
    comparison = compare_with_live(fleet, build, POLICY, held_out=held_out(fleet, build))
    assert comparison.passed
    assert (comparison.live_version, comparison.live["accuracy"]) == (1, 0.75)
    assert comparison.trained == build.training.metrics
    assert comparison.live.keys() == comparison.trained.keys()
    refused = compare_with_live(fleet, worse(build), POLICY, held_out=held_out(fleet, build))
    assert refused.worse == ("accuracy 0.5000, that of the live version is 0.7500",)
    assert not refused.passed
    assert compare_with_live(fleet, worse(build), POLICY, "the live one must go", held_out(fleet, build)).passed
    with pytest.raises(InvalidInput, match="needs a reason"):
        compare_with_live(fleet, worse(build), POLICY, "  ", held_out(fleet, build))
    made_elsewhere = Build("mlp", build.directory, {}, "", Training())
    found = compare_with_live(fleet, made_elsewhere, POLICY)
    assert found.notes == ("Accuracy not compared: neither it nor version 1 came with held-out examples.",)
    assert found.worse == tuple(f"signature {name!r} is missing" for name in sorted(build.signatures))


def test_a_live_version_that_does_not_answer_is_an_error_unless_a_reason_is_given(
    fleet: Fleet, replica: LocalReplica, build: Build
) -> None:
    serve_mlp(fleet, build)
    replica.kill("model-server")
    with pytest.raises(ServingUnreachable, match="No replica of fleet 'test' answered for mlp 1, the live version"):
        compare_with_live(fleet, build, POLICY, held_out=held_out(fleet, build))
    forced = compare_with_live(fleet, build, POLICY, "the fleet is down, and this mends it", held_out(fleet, build))
    forced.require_passed()
    assert forced.notes[0].startswith("Not compared: No replica of fleet 'test' answered")

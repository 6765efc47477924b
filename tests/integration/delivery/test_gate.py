"""A trained model is compared with the version that serves, asked through a live replica."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from tasks.data.dataset import Dataset
from tasks.data.examples import Examples
from tasks.data.held_out import save_held_out
from tasks.errors import GateFailed, InvalidInput, NotServable, ServingUnreachable
from tasks.fleet import replicas
from tasks.fleet.config import Fleet, serving_entry
from tasks.policy import MetricRule, Policy
from tasks.records import Build, Comparison, DatasetRef, Scored, ScoredOutput, Training
from tasks.savedmodel.read import SavedModelFolder
from tasks.settings import Settings
from tasks.store import keys
from tasks.training.elsewhere import examine
from tasks.validation.gate import compare_with_live
from tests.helpers.policies import POLICY
from tests.helpers.replica import LocalReplica
from tests.helpers.versions import publish_version

WEIGHTS_1 = np.sin(np.arange(20, dtype=np.float32)).reshape(4, 5)
WEIGHTS_2 = np.cos(np.arange(15, dtype=np.float32)).reshape(5, 3)
NAMES = ("cat", "dog", "emu")
CLASSIFY = Scored("classify", {"inputs": "x"}, {"y": ScoredOutput("class", "classes", NAMES)})
SLICED = """
import numpy as np
from tasks.training.recipe import higher

GATE = {"rows": higher(by=0, at_least=10)}

def make(data): raise AssertionError("nothing is trained")
def score(labels, answers): return {"rows": len(labels)}
def slices(features): return {"side": np.where(features["x"][:, 0] > 0, "right", "left")}
"""
RENAMED = Scored("classify", {"inputs": "x"}, {"y": ScoredOutput("class", "classes", ("emu", "cat", "dog"))})


def held_out() -> Examples:
    """200 examples, of which the small `mlp` is wrong about every fourth."""
    x = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
    said = (np.maximum(x @ WEIGHTS_1, 0) @ WEIGHTS_2).argmax(axis=1)
    return Examples({"x": x}, {"y": np.array(NAMES)[np.where(np.arange(200) % 4 == 0, (said + 1) % 3, said)]})


def build_of(folder: Path, scored: Scored | None = CLASSIFY, dataset: DatasetRef | None = None) -> Build:
    signatures = SavedModelFolder.read(folder).signatures
    return Build("mlp", str(folder), signatures, "", Training(scored=scored, dataset=dataset))


@pytest.fixture
def build(fleet: Fleet, small_models: Path, tmp_path: Path) -> Build:
    """The small `mlp`, whose held-out examples are in the store."""
    test = held_out()
    key, sha256 = keys.held_out_key("random", "ab" * 32, 0), "ab" * 32
    save_held_out(Dataset("random", test, test, test, sha256, 0), tmp_path / "held-out.npz")
    fleet.store.create(key, (tmp_path / "held-out.npz").read_bytes())
    return build_of(small_models / "mlp" / "1", dataset=DatasetRef("random", sha256, 0, key))


def serve_mlp(fleet: Fleet, build: Build, gate: Comparison | None = None) -> None:
    version = publish_version(
        fleet.store,
        fleet.trust,
        "mlp",
        Path(build.directory),
        signatures=build.signatures,
        golden=None,
        training=build.training,
        run="test",
        gate=gate,
    ).version
    entry = serving_entry("mlp", fleet.base_path("mlp"), [version], {})
    replicas.await_config(fleet, fleet.change({"mlp": entry}, "test"), "mlp")


def with_floor(floor: float) -> Policy:
    return dataclasses.replace(POLICY, metrics={"accuracy": MetricRule("higher", 0.02, floor)})


def test_where_nothing_serves_a_model_passes_and_the_comparison_says_so(fleet: Fleet, build: Build) -> None:
    comparison = compare_with_live(fleet, build, POLICY, held_out=held_out())
    comparison.require_passed()
    assert comparison.notes == ("Not compared: fleet 'test' serves no version of mlp, and its policy sets no floor.",)


def test_where_nothing_serves_a_floor_counts(fleet: Fleet, build: Build) -> None:
    comparison = compare_with_live(fleet, build, with_floor(0.7), held_out=held_out())
    comparison.require_passed()
    assert comparison.notes[0].endswith("Held against its policy's floor: accuracy 0.7500 (at least 0.7).")
    with pytest.raises(GateFailed, match=r"accuracy is 0\.7500, its floor at least 0\.8"):
        compare_with_live(fleet, build, with_floor(0.8), held_out=held_out()).require_passed()
    unknown = compare_with_live(fleet, build_of(Path(build.directory), None), with_floor(0.8))
    unknown.require_passed()
    assert unknown.notes[0].endswith("Its policy's floor was not checked: it has no held-out examples.")


def test_both_models_answer_the_same_held_out_examples(fleet: Fleet, replica: LocalReplica, build: Build) -> None:
    serve_mlp(fleet, build)
    same = compare_with_live(fleet, build, POLICY, held_out=held_out())
    assert same.passed
    assert (same.live_version, same.live["accuracy"]) == (1, 0.75)
    assert same.trained == same.live
    assert {f.metric for f in same.findings} == same.trained.keys()
    assert {group.group for group in same.groups} == {f"y is {name}" for name in NAMES}

    mixed_up = build_of(Path(build.directory), RENAMED, build.training.dataset)
    refused = compare_with_live(fleet, mixed_up, POLICY, held_out=held_out())
    assert refused.worse[0].startswith("accuracy 0.")
    assert "that of the live version is 0.7500 (by 200 held-out rows" in refused.worse[0]
    with pytest.raises(GateFailed, match="is worse than version 1"):
        refused.require_passed()
    assert compare_with_live(fleet, mixed_up, POLICY, "the live one must go", held_out()).passed
    with pytest.raises(InvalidInput, match="--force needs a reason"):
        compare_with_live(fleet, mixed_up, POLICY, "  ", held_out())
    with pytest.raises(InvalidInput, match="--ungated needs a reason"):
        compare_with_live(fleet, mixed_up, POLICY, held_out=held_out(), ungated="")

    elsewhere = build_of(Path(build.directory), None)
    found = compare_with_live(fleet, elsewhere, POLICY)
    assert (found.scored, found.dataset) == (CLASSIFY, build.training.dataset), "asked as the live version is"
    assert found.notes == ("It was made elsewhere, perhaps with the held-out examples of version 1.",)
    assert found.trained == same.trained
    unlike = dataclasses.replace(held_out(), features={"x": np.zeros((200, 3), np.float32)})
    with pytest.raises(NotServable, match="mlp cannot be asked the held-out examples: Input 'inputs' takes float32"):
        compare_with_live(fleet, build, POLICY, held_out=unlike)


def test_where_nothing_can_be_compared_a_model_is_refused_unless_a_reason_is_given(
    fleet: Fleet, replica: LocalReplica, build: Build
) -> None:
    elsewhere = build_of(Path(build.directory), None)
    serve_mlp(fleet, elsewhere)
    found = compare_with_live(fleet, elsewhere, POLICY)
    with pytest.raises(GateFailed, match=r"neither it nor version \d+ came with held-out examples.*--ungated REASON"):
        found.require_passed()
    ungated = compare_with_live(fleet, elsewhere, POLICY, ungated="the label is not known yet")
    ungated.require_passed()
    assert Comparison.from_json(ungated.to_json(), "here").ungated == "the label is not known yet"
    nothing = compare_with_live(fleet, build, POLICY, held_out=held_out())
    assert nothing.uncompared is not None
    assert nothing.uncompared.endswith("does not say which signature and output it is scored by")
    assert nothing.trained["accuracy"] == 0.75
    unnamed = Build("mlp", build.directory, {}, "", Training())
    assert "signature 'call' is missing" in compare_with_live(fleet, unnamed, POLICY).worse


def test_a_live_version_that_does_not_answer_is_an_error_unless_a_reason_is_given(
    fleet: Fleet, replica: LocalReplica, build: Build
) -> None:
    serve_mlp(fleet, build)
    replica.kill("model-server")
    with pytest.raises(ServingUnreachable, match=r"No replica of fleet 'test' answered for mlp \d+, the live version"):
        compare_with_live(fleet, build, POLICY, held_out=held_out())
    forced = compare_with_live(fleet, build, POLICY, "the fleet is down, and this mends it", held_out())
    forced.require_passed()
    assert (forced.uncompared or "").startswith("No replica of fleet 'test' answered")


def test_a_saved_model_made_elsewhere_is_scored_sliced_and_gated_by_a_recipe(
    fleet: Fleet, replica: LocalReplica, store_settings: Settings, small_models: Path, tmp_path: Path
) -> None:
    (tmp_path / "made_elsewhere.py").write_text(SLICED)
    x = np.random.default_rng(0).normal(size=(400, 4)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=x, y=np.arange(400) % 3)
    folder = small_models / "mlp" / "1"
    build = Build("mlp", str(folder), SavedModelFolder.read(folder).signatures, None, Training())
    given = {"recipe": "made_elsewhere", "data": str(tmp_path / "data.npz"), "label": None, "split_seed": None}
    found = examine(
        store_settings.model_copy(update={"project": tmp_path}), fleet.store, fleet.trust, build, given, None
    )
    assert found is not None
    rows = len(found.held_out)
    assert found.build.training.metrics["rows"] == rows
    assert found.gate == {"rows": MetricRule("higher", 0.0, 10.0)}
    assert found.held_out.slices["side"].tolist() == [
        "right" if first > 0 else "left" for first in found.held_out.features["x"][:, 0]
    ]
    rule = dataclasses.replace(POLICY, metrics=found.gate)
    serve_mlp(fleet, found.build)
    gated = compare_with_live(fleet, found.build, rule, held_out=found.held_out, score=found.score)
    assert {"side is left", "side is right"} <= {group.group for group in gated.groups}
    assert sum(group.n for group in gated.groups if group.group.startswith("side ")) == rows
    assert [(finding.metric, finding.verdict) for finding in gated.findings] == [("rows", "not worse")]

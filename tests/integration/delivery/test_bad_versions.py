"""Bad versions of every kind: none is ever met by a client, and what is wrong is said."""

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows.release import Release, release_saved_model
from flows.rollback import rollback
from flows.rollout import rollout
from infra.stack.programs import settings_environment
from tasks.data.dataset import Dataset
from tasks.data.examples import Examples
from tasks.data.held_out import save_held_out
from tasks.delivery.preview import preview_rollout
from tasks.errors import GateFailed, InvalidSavedModel, LoadFailed, NotServable, RolloutFailed, SlipwayError
from tasks.fleet.config import Fleet, serving_entry
from tasks.fleet.history import fleet_history
from tasks.records import Claim, DatasetRef, Scored, ScoredOutput, Training
from tasks.savedmodel.content import GOLDEN
from tasks.savedmodel.golden import GoldenExample, write_golden
from tasks.savedmodel.read import SavedModelFolder
from tasks.serving.program import EMBEDDED
from tasks.settings import Settings, settings
from tasks.store import keys
from tasks.store.s3 import S3Store
from tasks.versions import catalog
from tests.helpers.clients import Client
from tests.helpers.local import LocalStore, until
from tests.helpers.models import X
from tests.helpers.policies import POLICY
from tests.helpers.replica import LocalReplica
from tests.helpers.versions import claimed_numbers, publish_version

pytestmark = pytest.mark.timeout(900)

# What the model servers of these tests may have: enough for a small model and every core's threads.
LIMIT = 400 + 32 * (os.cpu_count() or 1)  # MiB

NAN = np.full_like(X, np.nan)


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bad models, each in the folder of its name."""
    folder = tmp_path_factory.mktemp("bad-models")
    command: list[str | Path] = [sys.executable, "-m", "tests.helpers.make_bad_models", folder, str(LIMIT)]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def limited(seaweedfs: LocalStore, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings of a store, a fleet, and model servers that have no more memory than `LIMIT`."""
    server = tmp_path_factory.mktemp("limited") / "model-server"
    server.write_text(f'#!/bin/sh\nulimit -c 0 && ulimit -d {LIMIT << 10} || exit\nexec {" ".join(EMBEDDED)} "$@"\n')
    server.chmod(0o755)
    changes = {
        "home": seaweedfs.settings.home.absolute(),
        "bucket": f"test-{uuid.uuid4().hex[:12]}",
        "fleet": "test",
        "model_server": str(server),
        "load_deadline": 90.0,
        "answer_budget": 8.0,  # seconds: what is slow here is so beside the live version alone
    }
    found = seaweedfs.settings.model_copy(update=changes)
    S3Store.connect(found).ensure_bucket()
    return found


@pytest.fixture(scope="module")
def limited_fleet(limited: Settings) -> Fleet:
    return Fleet.connect(limited)


@pytest.fixture(scope="module")
def limited_replica(limited: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalReplica]:
    local = LocalReplica(tmp_path_factory.mktemp("replica"), limited)
    local.start()
    local.await_report()
    yield local
    local.end()


@pytest.fixture(scope="module", autouse=True)
def flows_to_it(prefect: None, limited: Settings) -> Iterator[None]:
    """Flows of this process work with this module's store and fleet."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings_environment(limited).items():
            patch.setenv(name, value)
        settings.cache_clear()
        yield
    settings.cache_clear()


@pytest.fixture(scope="module")
def live(limited_fleet: Fleet, limited_replica: LocalReplica, small_models: Path) -> int:
    """The version of `affine` that serves."""
    released = release_saved_model("affine", str(small_models / "affine" / "1"), fleet=limited_fleet.name)
    assert isinstance(released, Release)
    return released.manifest.version


def publish_untried(
    limited_fleet: Fleet, folder: Path, *golden: GoldenExample, model: str = "affine", training: Training | None = None
) -> int:
    """Publish what a sandbox would refuse, as somebody would who writes to the store himself."""
    (folder / GOLDEN).parent.mkdir(exist_ok=True)
    (folder / GOLDEN).unlink(missing_ok=True)
    write_golden(folder / GOLDEN, golden)
    return publish_version(
        limited_fleet.store,
        limited_fleet.trust,
        model,
        folder,
        signatures=SavedModelFolder.read(folder).signatures,
        golden=GOLDEN,
        training=training or Training(),
        run=f"test {folder.name}",
    ).version


def affine(outputs: np.ndarray = X / 2 + 2, signature: str = "serving_default", x: np.ndarray = X) -> GoldenExample:
    return GoldenExample(signature, {"x": x}, {"y": outputs.astype(np.float32)})


REFUSED: dict[str, tuple[type[SlipwayError], str]] = {
    "nan": (NotServable, "output 'y' holds NaN. Its weights hold NaN"),
    "unweighted": (InvalidSavedModel, "lacks its weights"),
    "cut-off": (NotServable, "cannot be loaded"),
    "cold": (LoadFailed, 'did not become available: .*Serving signature key "gone" not found'),
    "large": (LoadFailed, r"It needs more memory than there is\. .*OOM when allocating tensor"),
    "greedy": (LoadFailed, "was ended by signal .*memory ran out"),
    "renamed": (GateFailed, "signature 'serving_default' is missing"),
    "reshaped": (GateFailed, r"takes 'x' as float32 \[any, 2\], clients send float32 \[any\]"),
}


def test_what_is_bad_in_itself_or_breaks_clients_gets_no_number(
    limited_fleet: Fleet, limited_replica: LocalReplica, live: int, bad: Path, limited: Settings
) -> None:
    config = limited_fleet.newest().number
    with Client(limited_replica).hammering() as client:
        for name, (error, said) in REFUSED.items():
            with pytest.raises(error, match=said):
                release_saved_model("affine", str(bad / name), fleet=limited_fleet.name)
            assert claimed_numbers(limited_fleet.store, "affine") == [live], name
    assert (set(client.answers), client.failures) == ({(live, 1), (None, 1)}, [])
    assert limited_fleet.newest().number == config
    assert list((limited.home / "builds").iterdir()) == [], "what was refused takes no room"


TAKEN_BACK: dict[str, tuple[GoldenExample, str]] = {
    "unweighted": (affine(), "Could not find variable"),
    "cut-off": (affine(), r"did not load \(state END: "),
    "cold": (affine(), r'did not load \(state END: .*Serving signature key "gone" not found'),
    "nan": (affine(NAN), "output 'y' holds NaN"),
    "good": (affine(X / 2 + 3), "output 'y' differs in 3 of 3 values"),
    "slow": (affine(), r"take .* ms, while the live version takes .* ms; the policy's slowdown allows 10 times"),
}


def test_what_was_published_past_the_sandbox_is_taken_back_before_a_client_meets_it(
    limited_fleet: Fleet, limited_replica: LocalReplica, live: int, bad: Path
) -> None:
    with Client(limited_replica).hammering() as client:
        for name, (golden, said) in TAKEN_BACK.items():
            version = publish_untried(limited_fleet, bad / name, golden)
            with pytest.raises(RolloutFailed, match=said) as failed:
                rollout("affine", version, limited_fleet.name)
            assert str(failed.value).endswith(f"Version {live} serves as before."), name
            assert catalog.version(limited_fleet.store, "affine", version).state == "rejected", name
    assert (set(client.answers), client.failures) == ({(live, 1), (None, 1)}, [])
    assert limited_fleet.newest().versions("affine") == [live]


def test_a_version_that_turns_bad_while_it_soaks_is_met_by_nobody(
    limited_fleet: Fleet, limited_replica: LocalReplica, live: int, bad: Path
) -> None:
    tiring = publish_untried(limited_fleet, bad / "tiring", affine())
    wrong = r"served as affine-candidate: .* output 'y' differs in 3 of 3"
    with Client(limited_replica).hammering() as client, pytest.raises(RolloutFailed, match=wrong):
        rollout("affine", tiring, limited_fleet.name, "labels")
    assert (set(client.answers), client.failures) == ({(live, 1), (None, 1)}, [])
    assert catalog.version(limited_fleet.store, "affine", tiring).state == "rejected"
    assert limited_fleet.newest().entry("affine") == serving_entry(
        "affine", limited_fleet.base_path("affine"), [live], {}
    )


def test_what_breaks_clients_is_rolled_out_for_a_reason_and_there_is_a_way_back(
    limited_fleet: Fleet, limited_replica: LocalReplica, live: int, bad: Path
) -> None:
    renamed = publish_untried(limited_fleet, bad / "renamed", affine(signature="serving"))
    reshaped = publish_untried(limited_fleet, bad / "reshaped", affine(x=np.stack([X, X], axis=1)))
    config = limited_fleet.newest().number
    for version, said in ((renamed, "'serving_default' is missing"), (reshaped, "clients send float32")):
        with pytest.raises(
            GateFailed, match=f"affine version {version} breaks what clients of version {live}, .*{said}"
        ):
            rollout("affine", version, limited_fleet.name)
        (warning,) = preview_rollout(limited_fleet, "affine", version, "blue-green", POLICY).warnings
        assert said in warning
        assert catalog.version(limited_fleet.store, "affine", version).state == "published"
    assert limited_fleet.newest().number == config
    assert limited_fleet.store.keys(keys.rollouts_prefix(limited_fleet.name)) == []
    assert rollout("affine", renamed, limited_fleet.name, force="its one client was changed first").passed
    verdict = catalog.verdict(limited_fleet.store, "affine", renamed)
    assert verdict is not None
    assert verdict.reason.endswith("forced: its one client was changed first")
    assert rollback("affine", fleet=limited_fleet.name).version == live, (
        "the renamed signature breaks nobody on the way back"
    )


def test_a_release_for_a_reason_is_one_run_from_its_claim_to_its_verdict(
    limited_fleet: Fleet, limited_replica: LocalReplica, live: int, bad: Path
) -> None:
    before, reason = limited_fleet.newest().number, "its one client was changed first"
    release = release_saved_model("affine", str(bad / "renamed"), fleet=limited_fleet.name, force=reason, again=True)
    assert isinstance(release, Release)
    released = release.manifest
    claim = limited_fleet.store.find_record(keys.claim_key("affine", released.version), Claim)
    verdict = catalog.verdict(limited_fleet.store, "affine", released.version)
    assert claim is not None
    assert verdict is not None
    changes = fleet_history(limited_fleet, limited_fleet.newest().number - before)
    assert {claim.run, verdict.run, *(change.run for change in changes)} == {claim.run}
    assert released.gate is not None
    assert released.gate.forced == reason
    assert verdict.reason.endswith(f"forced: {reason}")
    assert rollback("affine", to=live, fleet=limited_fleet.name).version == live


def test_a_model_with_its_classes_swapped_is_found_out_by_the_held_out_examples(
    limited_fleet: Fleet, limited_replica: LocalReplica, small_models: Path, bad: Path, tmp_path: Path
) -> None:
    good = tmp_path / "mlp"
    subprocess.run(["cp", "-r", small_models / "mlp" / "1", good], check=True)
    x = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
    weights = np.sin(np.arange(20, dtype=np.float32)).reshape(4, 5), np.cos(np.arange(15, dtype=np.float32))
    scores = np.maximum(x @ weights[0], 0) @ weights[1].reshape(5, 3)
    y = scores.argmax(axis=1).astype(np.int64)
    whole = Examples({"x": x}, {"y": y})
    save_held_out(Dataset("random", whole, whole, whole, "ab" * 32, 0), tmp_path / "held-out.npz")
    key = keys.held_out_key("random", "ab" * 32, 0)
    limited_fleet.store.create(key, (tmp_path / "held-out.npz").read_bytes())
    scored = Scored("classify", {"inputs": "x"}, {"y": ScoredOutput("class", "classes", ("0", "1", "2"))})
    trained = Training(scored=scored, dataset=DatasetRef("random", "ab" * 32, 0, key), metrics={"accuracy": 1.0})
    classes = GoldenExample("classify", {"inputs": x[:8]}, {"class": y[:8], "score": softmax(scores[:8]).max(axis=1)})
    first = publish_untried(limited_fleet, good, classes, model="mlp", training=trained)
    rollout("mlp", first, limited_fleet.name)

    swapped = publish_untried(limited_fleet, bad / "swapped", classes, model="mlp", training=trained)
    with pytest.raises(RolloutFailed, match="output 'class' differs in 8 of 8 values"):
        rollout("mlp", swapped, limited_fleet.name)

    def refused(live: int) -> None:
        with pytest.raises(GateFailed, match=rf"worse than version {live}, .* accuracy 0\.\d+, .* is 1\.0000"):
            release_saved_model("mlp", str(bad / "swapped"), fleet=limited_fleet.name, again=True)

    refused(first)
    release = release_saved_model("mlp", str(good), fleet=limited_fleet.name, again=True)
    assert isinstance(release, Release)
    again = release.manifest
    assert again.gate is not None
    assert (again.gate.trained["accuracy"], again.gate.dataset, again.gate.scored) == (1.0, trained.dataset, scored)
    refused(again.version)
    assert claimed_numbers(limited_fleet.store, "mlp") == [first, swapped, again.version]


def softmax(scores: Any) -> Any:
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    return (raised / raised.sum(axis=1, keepdims=True)).astype(np.float32)


def test_a_version_whose_load_kills_the_model_server_gives_way_to_the_one_before(
    limited_fleet: Fleet, limited_replica: LocalReplica, live: int, bad: Path
) -> None:
    length = GoldenExample("text", {"mib": np.array(1, np.int32)}, {"length": np.array(1 << 20, np.int32)})
    version = publish_untried(limited_fleet, bad / "greedy", affine(), length)
    client = Client(limited_replica)
    with client.hammering(), limited_replica.supervised():
        # TensorFlow may find out in time that there is no memory, if another thread took some just before.
        ends = r"The model server ended 2 times on its way to config \d+|OOM when allocating tensor"
        with pytest.raises(RolloutFailed, match=ends) as failed:
            rollout("affine", version, limited_fleet.name)
        answered = len(client.versions)
        until(lambda: len(client.versions) > answered, "the version before answers")
    assert str(failed.value).endswith(f"Version {live} serves as before.")
    assert set(client.versions) == {live}
    assert limited_replica.deaths == (0 if "OOM" in str(failed.value) else 2)
    assert catalog.version(limited_fleet.store, "affine", version).state == "rejected"

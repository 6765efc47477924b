"""Published versions in MLflow's model registry."""

import threading
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tasks.errors import NotFound
from tasks.records import FileEntry, Manifest, Training, Verdict
from tasks.tracking.registry import MANIFEST, TAG_STATE, TAG_VERSION, Registry
from tasks.tracking.runs import Tracker
from tasks.tracking.server import TAG_REASON

SOURCE = "s3://slipway/models/MLP"


def manifest(model: str, version: int, mlflow_run: str | None = None) -> Manifest:
    return Manifest(
        model=model,
        version=version,
        content_id="c0ffee",
        files=(FileEntry("saved_model.pb", 3, "ab" * 32),),
        signatures={},
        golden=None,
        training=Training(mlflow_run=mlflow_run),
    )


def verdict(model: str, version: int, state: str, reason: str = "as it should be") -> Verdict:
    return Verdict(model=model, version=version, state=state, reason=reason, run="bold-lynx")  # type: ignore[arg-type]


def test_a_published_version_is_registered_with_its_source_and_training(
    registry: Registry, tracker: Tracker, client: MlflowClient, model: str, tmp_path: Path
) -> None:
    run_id = tracker.start(model, Training(), "bold-lynx", "bold-lynx")
    published = manifest(model, 7, run_id)
    number = registry.register(published, f"{SOURCE}/7")

    found = client.get_model_version(model, number)
    assert (found.source, found.run_id, found.tags[TAG_VERSION]) == (f"{SOURCE}/7", run_id, "7")
    assert client.get_run(run_id).data.tags[TAG_VERSION] == "7"
    kept = Path(client.download_artifacts(run_id, MANIFEST, str(tmp_path)))
    assert Manifest.from_json(kept.read_bytes(), "MLflow") == published


def test_a_version_that_is_registered_twice_is_there_once(registry: Registry, client: MlflowClient, model: str) -> None:
    numbers = [registry.register(manifest(model, v), f"{SOURCE}/{v}") for v in (7, 9, 7, 9)]
    assert numbers == ["1", "2", "1", "2"]
    assert len(client.search_model_versions(f"name = '{model}'")) == 2


def test_versions_that_are_registered_at_once_have_one_number_each(registry: Registry, model: str) -> None:
    together, numbers = threading.Barrier(4), []

    def register(version: int) -> None:
        together.wait(10)
        numbers.append((version, registry.register(manifest(model, version), f"{SOURCE}/{version}")))

    threads = [threading.Thread(target=register, args=(version,)) for version in (1, 1, 2, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(numbers) == 4
    assert sorted({version for version, _ in numbers}) == [1, 2]
    assert len({number for _, number in numbers}) == 2


def test_a_version_whose_training_is_gone_from_mlflow_is_registered_all_the_same(
    registry: Registry, client: MlflowClient, model: str
) -> None:
    number = registry.register(manifest(model, 7, "0" * 32), f"{SOURCE}/7")
    assert client.get_model_version(model, number).tags[TAG_VERSION] == "7"


def test_the_champion_is_the_version_that_was_accepted_last(registry: Registry, model: str) -> None:
    for version in (7, 8):
        registry.register(manifest(model, version), f"{SOURCE}/{version}")
    assert registry.champion(model) is None
    for version in (7, 8, 7):
        registry.record_verdict(verdict(model, version, "accepted"))
        assert registry.champion(model) == version


def test_a_rejected_version_says_why_and_leaves_the_champion(
    registry: Registry, client: MlflowClient, model: str
) -> None:
    registry.register(manifest(model, 7), f"{SOURCE}/7")
    registry.record_verdict(verdict(model, 7, "accepted"))
    number = registry.register(manifest(model, 8), f"{SOURCE}/8")
    registry.record_verdict(verdict(model, 8, "rejected", "x" * 20_000))
    tags = client.get_model_version(model, number).tags
    assert tags[TAG_STATE] == "rejected"
    assert tags[TAG_REASON].startswith("xxx")
    assert registry.champion(model) == 7


def test_a_model_that_nobody_registered_has_no_champion(registry: Registry, model: str) -> None:
    assert registry.champion(model) is None


def test_a_verdict_on_a_version_that_is_not_registered_says_so(registry: Registry, model: str) -> None:
    with pytest.raises(NotFound, match=f"{model} version 7 is not registered"):
        registry.record_verdict(verdict(model, 7, "accepted"))

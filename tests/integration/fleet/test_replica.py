"""A real replica (model server, agent, object store) comes to whatever its fleet's newest config says."""

import shutil
from pathlib import Path

import numpy as np
import requests

from tasks.fleet import replicas
from tasks.fleet.config import Fleet, serving_entry
from tasks.records import Training
from tasks.serving.client import Target
from tests.helpers.local import until
from tests.helpers.replica import LocalReplica
from tests.helpers.versions import publish_version


def publish(fleet: Fleet, folder: Path, model: str = "affine") -> int:
    return publish_version(
        fleet.store, fleet.trust, model, folder, signatures={}, golden=None, training=Training(), run=f"test {folder}"
    ).version


def serve(fleet: Fleet, *versions: int, name: str = "affine", model: str = "affine", **labels: int) -> None:
    entry = serving_entry(name, fleet.base_path(model), versions, labels)
    replicas.await_config(fleet, fleet.change({name: entry}, "test"), model)


def answer(replica: LocalReplica, label: str | None = None, model: str = "affine") -> tuple[float, int | None]:
    with replica.client() as client:
        found = client.predict_grpc(Target(model, label=label), "serving_default", {"x": np.array([4.0], np.float32)})
        return float(found.outputs["y"][0]), found.version


def test_a_replica_swaps_versions_moves_labels_and_lets_go_of_what_no_config_names(
    fleet: Fleet, replica: LocalReplica, small_models: Path
) -> None:
    for number in (1, 2, 3):
        assert publish(fleet, small_models / "affine" / str(number)) == number
    serve(fleet, 1)
    assert answer(replica) == (3.0, 1)
    serve(fleet, 1, 2, stable=1, canary=2)
    assert (answer(replica, "stable"), answer(replica, "canary")) == ((3.0, 1), (4.0, 2))
    serve(fleet, 3, stable=3)
    assert (answer(replica, "stable"), answer(replica)) == ((5.0, 3), (5.0, 3))
    local = replica.settings.replica_models / "affine"
    until(lambda: [p.name for p in local.iterdir()] == ["3"], "only version 3 lies on the disk")


def test_a_model_server_that_was_killed_comes_back_with_what_it_served(
    fleet: Fleet, replica: LocalReplica, small_models: Path
) -> None:
    publish(fleet, small_models / "affine" / "1")
    serve(fleet, 1, stable=1)
    replica.kill("model-server")
    replica.start()
    assert answer(replica, "stable") == (3.0, 1)


def test_an_agent_that_was_away_catches_up(fleet: Fleet, replica: LocalReplica, small_models: Path) -> None:
    for number in (1, 2):
        publish(fleet, small_models / "affine" / str(number))
    serve(fleet, 1)
    replica.kill("agent")
    fleet.change({"affine": serving_entry("affine", fleet.base_path("affine"), [2], {})}, "test")
    replica.start()
    until(lambda: answer(replica) == (4.0, 2), "version 2 answers")


def test_a_replica_says_why_it_cannot_come_to_a_config_and_serves_on(
    fleet: Fleet, replica: LocalReplica, small_models: Path, tmp_path: Path
) -> None:
    publish(fleet, small_models / "affine" / "1")
    folder = shutil.copytree(small_models / "affine" / "1", tmp_path / "broken")
    index = folder / "variables" / "variables.index"
    index.write_bytes(index.read_bytes()[:100])
    broken = publish(fleet, folder)
    serve(fleet, 1)
    fleet.change({"affine": serving_entry("affine", fleet.base_path("affine"), [broken], {})}, "test")
    until(lambda: any(r.error for r in replicas.reports(fleet)), "the replica reports an error")
    (report,) = replicas.reports(fleet)
    assert report.error is not None
    assert "affine version 2 did not load (state END: DATA_LOSS: not an sstable" in report.error
    assert answer(replica) == (3.0, 1)
    serve(fleet, 1)
    (report,) = replicas.reports(fleet)
    assert report.error is None


def test_a_version_that_failed_is_tried_again_though_it_stays_wanted_until_it_loads(
    fleet: Fleet, replica: LocalReplica, small_models: Path, tmp_path: Path
) -> None:
    whole = small_models / "affine" / "2"
    publish(fleet, small_models / "affine" / "1")
    serve(fleet, 1)
    folder = shutil.copytree(whole, tmp_path / "broken")
    (folder / "variables" / "variables.index").write_bytes(b"cut off")
    entry = serving_entry("affine", fleet.base_path("affine"), [publish(fleet, folder)], {})
    config = fleet.change({"affine": entry}, "test")
    until(lambda: any(r.error for r in replicas.reports(fleet)), "the replica reports an error")
    # What it failed by passes, as a full memory does; the model server alone would never try it again.
    index = replica.settings.replica_models / "affine" / "2" / "variables" / "variables.index"
    index.chmod(0o644)
    index.write_bytes((whole / "variables" / "variables.index").read_bytes())
    assert answer(replica) == (3.0, 1)
    until(lambda: all(r.config == config.number and not r.error for r in replicas.reports(fleet)), "it is reached", 60)
    assert answer(replica) == (4.0, 2)


def test_a_model_of_another_team_is_served_beside_ours_and_left_alone(
    fleet: Fleet, replica: LocalReplica, small_models: Path
) -> None:
    publish(fleet, small_models / "affine" / "1")
    theirs = serving_entry("theirs", str(small_models / "mlp"), [1], {"gold": 1})
    # The first config of all holds nothing that is brought from the store.
    replicas.await_config(fleet, fleet.change({"theirs": theirs}, "written by another team"), "theirs")
    serve(fleet, 1)
    assert fleet.newest().entry("theirs") == theirs
    with replica.client() as client:
        reply = client.predict_grpc(
            Target("theirs", label="gold"), "classify", {"inputs": np.array([[1, 2, 3, 4]], np.float32)}
        )
    assert reply.outputs["class"].tolist() == [1]


def test_the_agent_tells_whether_its_replica_is_ready(fleet: Fleet, replica: LocalReplica, small_models: Path) -> None:
    publish(fleet, small_models / "affine" / "1")
    serve(fleet, 1)
    url = f"http://127.0.0.1:{replica.settings.agent_port}"
    assert requests.get(f"{url}/healthz", timeout=5).status_code == 200
    ready = requests.get(f"{url}/readyz", timeout=5)
    assert (ready.status_code, ready.json()["config"]) == (200, fleet.newest().number)
    metrics = requests.get(f"{url}/metrics", timeout=5).text
    assert 'slipway_replica_version_available{model="affine",version="1"} 1.0' in metrics
    replica.kill("model-server")
    until(lambda: requests.get(f"{url}/readyz", timeout=5).status_code == 503, "no longer ready")


def test_a_version_that_was_altered_on_the_disk_is_not_served_by_a_server_that_starts_again(
    fleet: Fleet, replica: LocalReplica, small_models: Path
) -> None:
    version = publish(fleet, small_models / "affine" / "1")
    serve(fleet, version)
    files = replica.settings.replica_models / "affine" / str(version) / "variables"
    (weights,) = files.glob("*.data-*")
    weights.chmod(0o644)
    weights.write_bytes(weights.read_bytes().replace(np.float32(1.0).tobytes(), np.float32(9.0).tobytes()))
    replica.kill("model-server")
    replica.start()
    with replica.client() as client:
        until(lambda: [s for s in client.statuses("affine") if s.state == "AVAILABLE"], "the version is there again")
    assert answer(replica) == (3.0, version)
    assert "It is removed, and fetched again." in replica.log("model-server")

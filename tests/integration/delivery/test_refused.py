"""A replica refuses, reports and never serves what is not whole, not signed by the trusted key, or not harmless."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from infra.stack.secrets import ensure_key_pair
from tasks.errors import SignatureInvalid
from tasks.fleet import replicas
from tasks.fleet.config import Fleet, serving_entry
from tasks.records import Training
from tasks.serving.client import Target
from tasks.settings import Settings
from tasks.store import keys
from tasks.store.base import Store
from tasks.versions import catalog
from tasks.versions.signing import Trust
from tests.helpers.local import until
from tests.helpers.replica import LocalReplica
from tests.helpers.versions import UNSIGNED, publish_version

MODEL = "affine"
READS_A_FILE = """
import sys, tensorflow as tf
module = tf.Module()
def answer(x):
    return {"y": x + tf.cast(tf.strings.length(tf.io.read_file("/etc/hostname")), tf.float32)}
module.answer = tf.function(answer, input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
tf.saved_model.save(module, sys.argv[1], signatures={"serving_default": module.answer})
"""


def publish(store: Store, trust: Trust, folder: Path) -> int:
    return publish_version(
        store, trust, MODEL, folder, signatures={}, golden=None, training=Training(), run=f"test {folder}"
    ).version


def ask_for(fleet: Fleet, version: int) -> None:
    fleet.change({MODEL: serving_entry(MODEL, fleet.base_path(MODEL), [version], {})}, f"test {version}")


def answer(replica: LocalReplica) -> tuple[float, int | None]:
    with replica.client() as client:
        found = client.predict_grpc(Target(MODEL), "serving_default", {"x": np.array([4.0], np.float32)})
        return float(found.outputs["y"][0]), found.version


def test_a_replica_refuses_and_reports_what_it_must_not_serve_and_serves_on(
    fleet: Fleet, replica: LocalReplica, small_models: Path, tmp_path: Path
) -> None:
    good, other = small_models / MODEL / "1", small_models / MODEL / "2"
    settings = replica.settings
    stranger = settings.model_copy(update={"home": tmp_path / "stranger"})
    ensure_key_pair(stranger)
    unsigned, foreign = UNSIGNED, Trust.of(stranger)
    careless = Trust.of(settings.model_copy(update={"allowed_ops": "ReadFile"}))
    reader = tmp_path / "reader"
    subprocess.run([sys.executable, "-c", READS_A_FILE, reader], check=True, capture_output=True)

    served = publish(fleet.store, fleet.trust, good)
    ask_for(fleet, served)
    until(lambda: [s for s in replicas.reports(fleet) if s.config == fleet.newest().number], "version 1 serves")
    refused = {
        publish(fleet.store, unsigned, other): "is not signed",
        publish(fleet.store, foreign, other): "was not made over its manifest with the key",
        publish(fleet.store, careless, reader): "ReadFile in node",
        _flipped(fleet.store, publish(fleet.store, fleet.trust, other)): "is not what was published",
        _replayed(fleet.store, served): f"is the manifest of {MODEL} {served}",
    }
    for version, why in refused.items():
        ask_for(fleet, version)
        until(lambda why=why: any(why in (r.error or "") for r in replicas.reports(fleet)), f"reported: {why}")  # type: ignore[misc]
        assert answer(replica) == (3.0, served)
        assert [p.name for p in (settings.replica_models / MODEL).iterdir()] == [str(served)]
    following = publish(fleet.store, fleet.trust, other)
    ask_for(fleet, following)
    until(lambda: answer(replica) == (4.0, following), "a good version serves")


def test_versions_can_be_served_unsigned_where_that_is_asked_for(
    fleet: Fleet, store_settings: Settings, small_models: Path, tmp_path: Path
) -> None:
    version = publish(fleet.store, UNSIGNED, small_models / MODEL / "1")
    with pytest.raises(SignatureInvalid):
        catalog.trusted_manifest(fleet.store, fleet.trust, MODEL, version)
    lenient = LocalReplica(tmp_path, store_settings, fleet=fleet.name, signing="off")
    try:
        lenient.start()
        ask_for(fleet, version)
        until(lambda: [s for s in replicas.reports(fleet) if s.config == 1], "the unsigned version serves")
        assert answer(lenient) == (3.0, version)
    finally:
        lenient.end()


def _flipped(store: Store, version: int) -> int:
    """The version with one byte of its weights changed in the bucket."""
    key = f"{keys.version_prefix(MODEL, version)}variables/variables.data-00000-of-00001"
    data = store.get(key)
    store.put(key, bytes([data[0] ^ 1]) + data[1:])
    return version


def _replayed(store: Store, version: int) -> int:
    """A new number under which someone put an old version, signature and all."""
    number = max(catalog.taken(store, MODEL)) + 1
    for key in store.keys(keys.version_prefix(MODEL, version)):
        store.put(key.replace(f"/{version}/", f"/{number}/"), store.get(key))
    for place in (keys.signature_key, keys.manifest_key):
        store.put(place(MODEL, number), store.get(place(MODEL, version)))
    return number

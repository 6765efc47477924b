"""What lies in the store and cannot be used is named, each once; what can be is not."""

import pytest

from tasks.fleet.config import Fleet
from tasks.fleet.strays import strays
from tasks.processes import this_process
from tasks.records import Claim, ReplicaReport, RolloutRecord, Verdict, now
from tasks.store import keys
from tasks.store.base import LARGEST, Store
from tests.helpers.versions import UNSIGNED


@pytest.fixture
def used(store: Store) -> Store:
    """A store with one of each that can be used."""
    fleet = Fleet(store, UNSIGNED, "test", 1.0)
    fleet.change({}, "test", always=True)
    fleet.put_report(ReplicaReport("r1", "", "", 1, {}))
    record = RolloutRecord("MLP", 1, "blue-green", "a run", this_process(), now())
    store.put(keys.rollout_key("test", "MLP"), record.to_json())
    store.put(keys.claim_key("MLP", 1), Claim("MLP", 1, "a run").to_json())
    store.put(keys.manifest_key("MLP", 1), b"")  # closed
    store.put(keys.verdict_key("MLP", 1), Verdict("MLP", 1, "retired", "test", "a run").to_json())
    store.put(keys.policy_key("MLP"), b"{}")
    return store


def test_what_can_be_used_is_not_named(used: Store) -> None:
    assert strays(used, UNSIGNED) == []


@pytest.mark.parametrize(
    ("key", "data", "why"),
    [
        ("fleets/test/replicas/r2.json", b"{", "is not a replicareport that this Slipway can read"),
        ("fleets/test/replicas/r2.json", b" " * (LARGEST + 1), "has more than 16 MiB"),
        ("fleets/test/replicas/deep/r2.json", b"{}", "is not where Slipway puts anything"),
        ("fleets/test/rollouts/Other.json", b"[]", "is not a rolloutrecord"),
        ("fleets/test/configs/999999.config", b"", "follows on no config"),
        ("fleets/test/configs/x/000002.config", b"", "follows on no config"),
        ("fleets/an odd name/x", b"", "is not named as Slipway names anything"),
        ("models/an odd name/x", b"", "is not named as Slipway names anything"),
        ("models/MLP/verdicts/2.json", b"null", "is not a verdict"),
        ("models/MLP/manifests/2.json", b'{"model": 1}', "is not a manifest"),
        ("models/MLP/claims/2.txt", b"x", "is not where Slipway puts anything"),
    ],
)
def test_what_cannot_be_used_is_named_with_what_to_do(used: Store, key: str, data: bytes, why: str) -> None:
    used.put(key, data)
    (found,) = strays(used, UNSIGNED)
    assert why in found
    assert "emove it" in found
    assert key.rpartition("/")[0] in found

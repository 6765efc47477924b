"""Only configs that the holder of the signing key wrote, for this fleet and number, are followed."""

from collections.abc import Callable
from pathlib import Path

import pytest

from infra.stack.secrets import ensure_key_pair
from tasks.delivery.prune import still_needed
from tasks.delivery.rollout import begin_rollout
from tasks.errors import InvalidInput, InvalidSettings, SignatureInvalid
from tasks.fleet import lost
from tasks.fleet.config import Fleet, render, serving_entry
from tasks.fleet.history import fleet_history
from tasks.settings import Settings
from tasks.store.base import Store
from tasks.store.keys import config_key
from tasks.versions.signing import Trust
from tasks.wire.protos import ModelServerConfig
from tests.helpers.policies import POLICY
from tests.helpers.versions import UNSIGNED


def trust_in(home: Path) -> Trust:
    settings = Settings(home=home)
    ensure_key_pair(settings)
    return Trust.of(settings)


@pytest.fixture
def fleet(store: Store, tmp_path: Path) -> Fleet:
    """A fleet of two configs, that serve versions 1 and 2."""
    found = Fleet(store, trust_in(tmp_path / "keys"), "test", 1.0)
    for version in (1, 2):
        serve(found, version)
    return found


def serve(fleet: Fleet, version: int) -> int:
    return fleet.change({"MLP": serving_entry("MLP", fleet.base_path("MLP"), [version], {})}, "test").number


def put(fleet: Fleet, number: int, data: bytes) -> None:
    fleet.store.put(config_key(fleet.name, number), data)


def written(fleet: Fleet, number: int) -> bytes:
    return fleet.store.get(config_key(fleet.name, number))


def unsigned(fleet: Fleet) -> bytes:
    return render(ModelServerConfig(), "nothing at all")


def with_a_rejected_version(fleet: Fleet) -> bytes:
    return written(fleet, 2).replace(b"versions: 2", b"versions: 9")


def replayed(fleet: Fleet) -> bytes:
    return written(fleet, 1)


def of_another_fleet(fleet: Fleet) -> bytes:
    other = Fleet(fleet.store, fleet.trust, "other", 1.0)
    for version in (1, 2, 3):
        serve(other, version)
    return written(other, 3)


def by_another_key(fleet: Fleet) -> bytes:
    assert fleet.trust.public_key is not None
    home = fleet.trust.public_key.parent.parent / "thief"
    thief = Fleet(fleet.store, trust_in(home), "test", 1.0)
    put(fleet, 3, b"")  # so that it writes number 4, which is moved
    thief.write(4, ModelServerConfig(), "a thief")
    data = written(fleet, 4)
    fleet.store.delete(config_key("test", 4))
    return data.replace(b"config 4 of", b"config 3 of")


def with_more_behind_the_signature(fleet: Fleet) -> bytes:
    return written(fleet, 2).replace(b"config 2 of", b"config 3 of") + b"model_config_list { }\n"


FORGERIES = [
    unsigned, with_a_rejected_version, replayed, of_another_fleet, by_another_key, with_more_behind_the_signature,
]  # fmt: skip


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_config_is_passed_over_and_the_next_one_follows_on_it(
    fleet: Fleet, forgery: Callable[[Fleet], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    known = fleet.newest()
    put(fleet, 3, forgery(fleet))
    assert (fleet.newest().number, fleet.newest().versions("MLP")) == (2, [2])
    assert "000003.config is not signed, as config 3 of fleet test" in caplog.text
    passed = fleet.newer(known)
    assert passed is not None
    assert (passed.number, passed.versions("MLP")) == (2, [2])
    assert fleet.newer(passed) is None
    with pytest.raises(SignatureInvalid):
        fleet.read(3)
    assert serve(fleet, 3) == 4
    newer = fleet.newer(passed)
    assert newer is not None
    assert (newer.number, newer.versions("MLP"), fleet.newest().versions("MLP")) == (4, [3], [3])
    assert [change.number for change in fleet_history(fleet) if "not signed" in change.changes] == [3]


def test_a_config_that_was_replaced_by_an_unsigned_one_is_passed_over(fleet: Fleet) -> None:
    put(fleet, 2, render(ModelServerConfig(), "nothing at all"))
    assert fleet.newest().versions("MLP") == [1]


def test_a_fleet_whose_configs_an_earlier_release_wrote_is_left_alone_until_they_are_signed(
    store: Store, tmp_path: Path
) -> None:
    before = Fleet(store, UNSIGNED, "test", 1.0)
    serve(before, 7)
    fleet = Fleet(store, trust_in(tmp_path), "test", 1.0)
    with pytest.raises(SignatureInvalid, match="`slipway fleet sign test` signs the newest one"):
        fleet.newest()
    with pytest.raises(SignatureInvalid):
        serve(fleet, 8)
    assert fleet.numbers() == [1]
    assert fleet_history(fleet)[0].changes == ("not signed", "MLP serves 7"), "what it would sign can be seen"
    signed = lost.sign(fleet)
    assert (signed.number, signed.versions("MLP")) == (2, [7])
    assert serve(fleet, 8) == 3
    put(fleet, 4, unsigned(fleet))
    with pytest.raises(InvalidInput, match="Config 3 of fleet 'test' is signed"):
        lost.sign(fleet)  # which would sign the forged one
    with pytest.raises(InvalidInput, match="has no config"):
        lost.sign(Fleet(store, fleet.trust, "new", 1.0))


def test_without_the_signing_key_nothing_is_begun(fleet: Fleet) -> None:
    assert fleet.trust.private_key is not None
    fleet.trust.private_key.unlink()
    with pytest.raises(InvalidSettings, match="There is no signing key"):
        serve(fleet, 3)
    with pytest.raises(InvalidSettings, match="There is no signing key"):
        begin_rollout(fleet, "MLP", 3, "blue-green", "a run", POLICY)
    assert (fleet.numbers(), fleet.rollout_under_way("MLP")) == ([1, 2], None)
    assert fleet.newest().versions("MLP") == [2], "to look needs the public key alone"


def test_without_the_trusted_key_nothing_is_believed(fleet: Fleet) -> None:
    assert fleet.trust.public_key is not None
    fleet.trust.public_key.unlink()
    with pytest.raises(InvalidSettings, match="There is no trusted key"):
        fleet.newest()


def test_pruning_keeps_what_a_signed_config_names_and_what_another_teams_does(fleet: Fleet) -> None:
    put(fleet, 3, unsigned(fleet))  # which names nothing
    other = Fleet(fleet.store, UNSIGNED, "theirs", 1.0)
    serve(other, 1)
    assert still_needed(fleet.store, fleet.trust, "MLP") == {
        2: ["served by fleet test"],
        1: ["served by fleet theirs"],
    }

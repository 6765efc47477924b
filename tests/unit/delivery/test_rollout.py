"""The steps of a rollout over a store that loses answers or is away for a while."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.delivery.recover import abort, recover_rollout
from tasks.delivery.rollout import accept, begin_rollout, end_rollout, make_plan, serve
from tasks.errors import RolloutConflict, ServingUnreachable, StoreUnreachable, ValidationFailed
from tasks.fleet.config import Fleet
from tasks.records import ReplicaReport, RolloutRecord, Training
from tasks.settings import Settings
from tasks.store import keys
from tasks.store.s3 import Store
from tasks.versions import catalog
from tests.helpers.saved_models import write_saved_model
from tests.helpers.versions import UNSIGNED, publish_version

DEADLINE = 5.0  # seconds that the fleet may take


class Moody(Store):
    """A store that is away for some of its requests."""

    away: list[bool]

    def put(self, key: str, data: bytes) -> None:
        self._may_be_away()
        super().put(key, data)

    def find(self, key: str) -> bytes | None:
        self._may_be_away()
        return super().find(key)

    def _may_be_away(self) -> None:
        if self.away and self.away.pop(0):
            raise StoreUnreachable("The store does not answer.")


@pytest.fixture
def moody(memory: Settings) -> Moody:
    store = Moody.connect(memory)
    assert isinstance(store, Moody)
    store.away = []
    return store


@pytest.fixture
def fleet(moody: Moody, tmp_path: Path) -> Fleet:
    """A fleet whose one replica has always reached its newest config; version 1 of `affine` is published."""
    folder = write_saved_model(tmp_path / "1")
    publish_version(moody, UNSIGNED, "affine", folder, signatures={}, golden=None, training=Training(), run="test")
    report = ReplicaReport("r1", "http://127.0.0.1:1", "127.0.0.1:1", config=1000, models={})
    moody.put(keys.replica_key("test", "r1"), report.to_json())
    return Fleet(moody, UNSIGNED, "test", DEADLINE)


def begun(fleet: Fleet) -> RolloutRecord:
    return begin_rollout(fleet, "affine", 1, "blue-green", "this run")


def test_a_second_rollout_within_one_run_is_kept_out_too(fleet: Fleet, tmp_path: Path) -> None:
    folder = write_saved_model(tmp_path / "2")
    publish_version(
        fleet.store, UNSIGNED, "affine", folder, signatures={}, golden=None, training=Training(), run="test"
    )
    begun(fleet)
    with pytest.raises(RolloutConflict, match="version 1 by run this run"):
        begin_rollout(fleet, "affine", 2, "blue-green", "this run")


def test_a_run_whose_beginning_broke_off_begins_again_and_keeps_others_out(fleet: Fleet, moody: Moody) -> None:
    moody.away = [False, True]  # not for the manifest, but for the record with what was served before
    with pytest.raises(StoreUnreachable):
        begun(fleet)
    fleet.deadline += 1  # as if a second had passed
    record = begun(fleet)
    assert fleet.rollout_under_way("affine") == record
    assert record.previous_config == 0
    with pytest.raises(RolloutConflict, match="by run this run"):
        begin_rollout(fleet, "affine", 1, "blue-green", "another run")


def test_the_way_back_waits_for_a_store_that_is_away(fleet: Fleet, moody: Moody) -> None:
    record = begun(fleet)
    trial, _ = make_plan(fleet, record).stages
    serve(fleet, record, trial)
    moody.away = [True, False, True, True]
    failure = abort(fleet, record, ValidationFailed("It answers otherwise."))
    assert str(failure) == (
        "The rollout of affine version 1 was aborted: It answers otherwise. No version of affine is served, as before."
    )
    assert fleet.rollout_under_way("affine") is None
    assert fleet.newest().entry("affine-candidate") is None
    assert catalog.version(moody, "affine", 1).state == "rejected"


def test_a_way_back_that_finds_no_store_leaves_the_record_for_whoever_comes_next(fleet: Fleet, moody: Moody) -> None:
    record = begun(fleet)
    fleet.deadline = 0.5
    moody.away = [True] * 100
    failure = abort(fleet, record, ValidationFailed("It answers otherwise."))
    assert "Restoring what was served before failed too: The store does not answer. Run `slipway reconcile`" in str(
        failure
    )
    moody.away = []
    assert fleet.rollout_under_way("affine") == record


@pytest.mark.parametrize("writes", range(4))
def test_a_way_back_that_dies_after_a_write_is_never_taken_for_a_rollout_to_finish(
    fleet: Fleet, moody: Moody, writes: int
) -> None:
    """The version was accepted, and fails once it is live: from the first write of the way back on it is gone."""

    class Died(BaseException):
        """As by a power cut."""

    def dying(write: Callable[..., object]) -> Callable[..., object]:
        def counted(*arguments: object) -> object:
            nonlocal writes
            writes -= 1
            if writes < 0:
                raise Died
            return write(*arguments)

        return counted

    record = begun(fleet)
    accept(fleet, record)
    serve(fleet, record, make_plan(fleet, record).stages[-1])
    begun_way_back = writes > 0
    with pytest.MonkeyPatch.context() as patch:
        for method in ("put", "create", "delete_once"):
            patch.setattr(moody, method, dying(getattr(moody, method)))
        with contextlib.suppress(Died):
            abort(fleet, record, ValidationFailed("It answers otherwise."))
    left = fleet.rollout_under_way("affine")
    if left is not None:
        recover_rollout(fleet, left)
    assert fleet.rollout_under_way("affine") is None
    assert fleet.newest().versions("affine") == ([] if begun_way_back else [1])
    assert catalog.version(moody, "affine", 1).state == ("rejected" if begun_way_back else "accepted")


@pytest.mark.parametrize("accepted", [True, False])
def test_a_version_is_not_rejected_for_the_absence_of_a_server(fleet: Fleet, moody: Moody, accepted: bool) -> None:
    record = begun(fleet)
    if accepted:
        accept(fleet, record)
    abort(fleet, record, ServingUnreachable("No model server answers."))
    assert catalog.version(moody, "affine", 1).state == ("retired" if accepted else "published")


def test_an_end_whose_answer_is_lost_takes_no_place_from_the_rollout_that_began_since(
    fleet: Fleet, moody: Moody, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = begun(fleet)

    def lose_the_answer(key: str) -> None:
        Store.delete_once(moody, key)
        begin_rollout(fleet, "affine", 1, "blue-green", "another run")
        raise StoreUnreachable("The store does not answer.")

    monkeypatch.setattr(moody, "delete_once", lose_the_answer)
    end_rollout(fleet, record)
    other = fleet.rollout_under_way("affine")
    assert other is not None
    assert other.run == "another run"

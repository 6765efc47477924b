"""Records as they are stored: what earlier releases wrote is read."""

import dataclasses
import json
from datetime import timedelta

import pytest

from tasks.errors import Corrupt
from tasks.processes import this_process
from tasks.records import Comparison, RolloutRecord, Verdict, now
from tests.helpers.policies import policy


def stored(**changed: object) -> bytes:
    """A record as the present release writes it, with some fields changed or left out (None)."""
    record = RolloutRecord("MLP", 7, "labels", "a run", this_process(), now(), soak=2.0)
    fields = json.loads(record.to_json()) | changed
    return json.dumps({name: value for name, value in fields.items() if value is not None}).encode()


def test_a_rollout_that_an_earlier_release_began_is_read() -> None:
    record = RolloutRecord.from_json(stored(strategy="candidate", soak=None, watched=30.0), "store")
    assert (record.strategy, record.soak) == ("blue-green", 30.0)


def test_a_rollout_is_written_with_the_present_names() -> None:
    assert {"strategy": "labels", "soak": 2.0}.items() <= json.loads(stored()).items()
    assert RolloutRecord.from_json(stored(), "store").soak == 2.0


def test_a_rollout_that_a_later_release_began_by_a_strategy_of_its_own_is_read() -> None:
    assert RolloutRecord.from_json(stored(strategy="canary"), "store").strategy == "canary"
    with pytest.raises(Corrupt, match="store is not a rolloutrecord that this Slipway can read: strategy"):
        RolloutRecord.from_json(stored(strategy=7), "store")


def test_what_a_release_without_policies_wrote_is_read() -> None:
    record = RolloutRecord.from_json(stored(policy=None), "store")
    assert (record.version, record.policy) == (7, None)
    verdict = b'{"model": "MLP", "version": 7, "state": "accepted", "reason": "", "run": "a run"}'
    assert Verdict.from_json(verdict, "store").policy is None
    assert Comparison.from_json(b'{"trained": {}, "live": {}, "live_version": null}', "store").policy is None


def test_the_policy_of_a_rollout_and_of_a_verdict_comes_back_as_it_was_kept() -> None:
    rule = policy(slowdown=3.0, metrics={"accuracy": {"tolerance": 0.125}})
    record = RolloutRecord("MLP", 7, "labels", "a run", this_process(), now(), policy=rule)
    assert RolloutRecord.from_json(record.to_json(), "store").policy == rule
    verdict = Verdict("MLP", 7, "accepted", "", "a run", policy=rule)
    assert Verdict.from_json(verdict.to_json(), "store").policy == rule


def test_a_policy_of_a_newer_release_is_read_without_what_only_that_one_knows() -> None:
    rule = policy()
    kept = json.loads(Verdict("MLP", 7, "accepted", "", "a run", policy=rule).to_json())
    kept["policy"]["phase_of_the_moon"] = "full"
    assert Verdict.from_json(json.dumps(kept).encode(), "store").policy == rule


@pytest.mark.parametrize("wrong", [timedelta(hours=-1), timedelta(0), timedelta(hours=1)])
def test_a_rollout_is_overdue_by_how_long_ago_it_was_written_whatever_its_machines_clock_said(wrong: timedelta) -> None:
    record = RolloutRecord.from_json(stored(), "test").lasting(60.0)
    record = dataclasses.replace(record, started=record.started + wrong, deadline=record.deadline + wrong)
    assert [record.overdue(age) for age in (0.0, 59.0, 61.0)] == [False, False, True]


def test_a_rollout_of_an_earlier_release_has_as_long_as_it_had_from_its_start() -> None:
    begun = now() - timedelta(hours=2)
    record = RolloutRecord("MLP", 7, "labels", "run", this_process(), begun + timedelta(seconds=60), started=begun)
    assert record.patience is None
    assert [record.overdue(age) for age in (59.0, 61.0)] == [False, True]

"""Records as they are stored: what earlier releases wrote is read."""

import json

import pytest

from tasks.errors import Corrupt, InvalidInput
from tasks.processes import this_process
from tasks.records import RolloutRecord, now, strategy_named


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


def test_a_stored_strategy_that_is_not_known_is_refused_with_those_that_are() -> None:
    with pytest.raises(Corrupt, match=r"store .*strategy: Input should be 'blue-green' or 'labels'"):
        RolloutRecord.from_json(stored(strategy="canary"), "store")


def test_a_strategy_is_found_by_its_present_name_and_by_its_old_one() -> None:
    assert [strategy_named(name) for name in ("blue-green", "labels", "candidate")] == [
        "blue-green",
        "labels",
        "blue-green",
    ]


def test_a_strategy_that_is_not_known_is_refused_with_those_that_are() -> None:
    with pytest.raises(InvalidInput, match="'canary' is not known: use 'blue-green' or 'labels'"):
        strategy_named("canary")

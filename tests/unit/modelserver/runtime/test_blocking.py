"""What is taken for quick, and so may run on the event loop."""

import math

import pytest

from infra.modelserver.runtime.blocking import Pace, WouldBlock, check_may_block, nothing_may_block

QUICK, SLOW = 0.001, 0.01


def test_what_is_not_known_is_not_quick() -> None:
    assert not Pace().is_quick("a")


def test_each_kind_is_judged_by_its_own_turns() -> None:
    pace = Pace()
    pace.record("a", QUICK)
    pace.record("b", SLOW)
    assert pace.is_quick("a")
    assert not pace.is_quick("b")
    pace.record("b", QUICK)
    assert pace.is_quick("b")


def test_it_takes_ten_slow_turns_in_a_row_before_the_quickest_work_is_slow() -> None:
    pace = Pace()
    pace.record("a", 0.0)
    for _ in range(9):
        pace.record("a", SLOW)
        assert pace.is_quick("a")
    pace.record("a", SLOW)
    assert not pace.is_quick("a")


def test_what_may_not_run_on_the_loop_is_never_quick() -> None:
    pace = Pace()
    for _ in range(3):
        pace.record("a", math.inf)
        assert not pace.is_quick("a")


def test_what_was_put_off_is_not_quick_for_twenty_turns() -> None:
    pace = Pace()
    pace.record("a", QUICK)
    pace.put_off("a")
    assert [pace.is_quick("a") for _ in range(21)] == [False] * 20 + [True]


def test_the_kinds_that_were_longest_unused_are_forgotten() -> None:
    pace = Pace()
    for kind in range(1025):
        pace.record(kind, QUICK)
    assert not pace.is_quick(0)
    assert pace.is_quick(1)


def test_work_that_may_take_long_is_not_begun_where_nothing_may_block() -> None:
    check_may_block()
    with nothing_may_block(), pytest.raises(WouldBlock):
        check_may_block()
    check_may_block()

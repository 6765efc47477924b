"""How many calls of one model run, wait, and are refused."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from infra.modelserver.errors import Code, StatusError
from infra.modelserver.limits import CallLimits


def test_more_calls_than_may_run_wait_for_their_turn() -> None:
    limits, lock, now, most = CallLimits(2), threading.Lock(), 0, 0
    together = threading.Barrier(2)

    def call() -> None:
        nonlocal now, most
        with limits.turn("one", 30.0):
            with lock:
                now += 1
                most = max(most, now)
            together.wait(30)  # both places are taken
            with lock:
                now -= 1

    with ThreadPoolExecutor(8) as threads:
        for done in [threads.submit(call) for _ in range(8)]:
            done.result()
    assert most == 2


def test_a_call_whose_time_is_over_while_it_waits_is_told_so() -> None:
    limits = CallLimits(1)
    for seconds in (0.01, 0.0, -1.0):
        with (
            limits.turn("one", None),
            pytest.raises(StatusError, match="earlier calls of one") as late,
            limits.turn("one", seconds),
        ):
            pass
        assert late.value.code is Code.DEADLINE_EXCEEDED
    with limits.turn("one", 1e15):  # gRPC's word for no deadline
        pass


def test_a_model_that_holds_all_its_calls_is_refused_more_and_others_are_not() -> None:
    limits, end = CallLimits(1), threading.Event()

    def hold() -> None:
        with limits.turn("one", None):
            end.wait(30)

    with ThreadPoolExecutor(limits.most) as threads:
        held = [threads.submit(hold) for _ in range(limits.most)]
        while "one" not in limits._models or limits._models["one"].count < limits.most:
            pass
        with pytest.raises(StatusError, match="17 calls of one run or wait already") as refused, limits.turn("one", 9):
            pass
        with limits.turn("other", 9):
            end.set()
        for one in held:
            one.result()
    assert refused.value.code is Code.RESOURCE_EXHAUSTED
    assert limits._models["one"].count == 0


def test_a_call_that_fails_gives_its_place_back() -> None:
    limits = CallLimits(1)
    for _ in range(40):
        with pytest.raises(ZeroDivisionError), limits.turn("one", 1):
            raise ZeroDivisionError
    assert limits._models["one"].count == 0


def test_names_that_clients_make_up_are_forgotten_and_calls_are_not() -> None:
    limits = CallLimits(1)
    with limits.turn("held", 1):
        for number in range(3000):
            with limits.turn(f"absent-{number}", 1):
                pass
        assert len(limits._models) < 2000
        assert limits._models["held"].count == 1

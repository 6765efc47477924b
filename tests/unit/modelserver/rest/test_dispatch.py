"""Which thread the dispatcher runs work in."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable

from infra.modelserver.errors import Code, StatusError
from infra.modelserver.rest.dispatch import Dispatcher
from infra.modelserver.runtime.blocking import check_may_block

SMALL, LARGE = 100, 10**6


def served(model: str) -> bool:
    return model in ("one", "other")


def here() -> bool:
    return threading.current_thread() is threading.main_thread()


def slow() -> bool:
    time.sleep(0.01)  # the work itself is what takes long
    return here()


def unpromising() -> bool:
    check_may_block()
    return here()


def ran_on_the_loop(size: int, *works: Callable[[], bool]) -> list[bool]:
    async def run() -> list[bool]:
        dispatcher = Dispatcher(2, served)
        try:
            return [await dispatcher.call_quick("predict", size, work) for work in works]
        finally:
            dispatcher.close()

    return asyncio.run(run())


def test_the_first_work_of_a_kind_runs_in_a_thread_and_then_on_the_loop_if_quick() -> None:
    assert ran_on_the_loop(SMALL, here, here, here) == [False, True, True]


def test_work_that_takes_long_goes_to_a_thread() -> None:
    assert ran_on_the_loop(SMALL, slow, slow, slow) == [False, False, False]


def test_work_that_has_become_slow_leaves_the_loop_after_some_turns() -> None:
    where = ran_on_the_loop(SMALL, here, *[slow] * 20)
    assert where[1] is True
    assert where[-1] is False


def test_one_slow_turn_on_a_busy_machine_changes_nothing() -> None:
    assert ran_on_the_loop(SMALL, here, here, slow, here) == [False, True, True, True]


def test_work_on_a_large_body_always_goes_to_a_thread() -> None:
    assert ran_on_the_loop(LARGE, here, here, here) == [False, False, False]


def test_work_that_cannot_promise_to_be_short_is_begun_again_in_a_thread() -> None:
    assert ran_on_the_loop(SMALL, here, here, unpromising, here) == [False, True, False, False]


def test_after_some_turns_it_is_tried_on_the_loop_again() -> None:
    where = ran_on_the_loop(SMALL, here, unpromising, *[here] * 25)
    assert where[2] is False
    assert where[-1] is True


def test_other_work_goes_to_a_thread() -> None:
    async def run() -> list[bool]:
        dispatcher = Dispatcher(1, served)
        try:
            return [await dispatcher.call(here) for _ in range(2)]
        finally:
            dispatcher.close()

    assert asyncio.run(run()) == [False, False]


def test_an_error_reaches_who_asked_from_the_loop_as_from_a_thread() -> None:
    def fail() -> bool:
        raise ValueError("no")

    async def run() -> list[str]:
        dispatcher, seen = Dispatcher(1, served), []
        for _ in range(2):
            try:
                await dispatcher.call_quick("predict", SMALL, fail)
            except ValueError as error:
                seen.append(str(error))
        dispatcher.close()
        return seen

    assert asyncio.run(run()) == ["no", "no"]


def test_after_its_time_a_call_is_answered_though_it_still_holds_its_thread() -> None:
    end = threading.Event()

    async def run() -> StatusError | None:
        dispatcher = Dispatcher(1, served)
        try:
            await dispatcher.call(end.wait, model="one", timeout=0.01)
        except StatusError as error:
            return error
        finally:
            end.set()
            dispatcher.close()
        return None

    error = asyncio.run(run())
    assert error is not None
    assert (error.code, error.message) == (Code.DEADLINE_EXCEEDED, "Timed out waiting for notification")


def test_what_waits_for_a_thread_when_its_time_is_over_is_not_begun() -> None:
    end, begun = threading.Event(), threading.Event()

    async def run() -> None:
        dispatcher = Dispatcher(1, served)
        held = asyncio.create_task(dispatcher.call(end.wait, model="one"))
        await asyncio.sleep(0)  # it begins
        with contextlib.suppress(StatusError):
            await dispatcher.call(begun.set, model="one", timeout=0.01)
        end.set()
        await held
        await dispatcher.call(here, model="one")
        dispatcher.close()

    asyncio.run(run())
    assert not begun.is_set()


def test_a_model_whose_threads_are_all_held_keeps_no_other_waiting() -> None:
    end = threading.Event()

    async def run() -> list[bool]:
        dispatcher = Dispatcher(2, served)
        held = [asyncio.create_task(dispatcher.call(end.wait, model="one")) for _ in range(9)]
        await asyncio.sleep(0)  # they begin
        try:
            return [await dispatcher.call(here, model=model) for model in ("other", "", "absent")]
        finally:
            end.set()
            await asyncio.gather(*held)
            dispatcher.close()

    assert asyncio.run(run()) == [False, False, False]


def test_names_that_clients_make_up_share_threads_and_those_of_unloaded_models_end() -> None:
    loaded = {"one"}

    async def run() -> set[str]:
        dispatcher = Dispatcher(1, lambda model: model in loaded)

        async def thread(model: str) -> str:
            return await dispatcher.call(lambda: threading.current_thread().name, model=model)

        names = {await thread(f"absent-{number}") for number in range(20)}
        mine = await thread("one")
        loaded.clear()
        loaded.add("other")
        await thread("other")
        while any(alive.name == mine for alive in threading.enumerate()):
            await asyncio.sleep(0)
        dispatcher.close()
        return names

    assert len(asyncio.run(run())) == 1

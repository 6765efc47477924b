"""How a plain function becomes a Prefect task: never cached, tried again after transport errors and nothing else."""

import functools
import inspect
import logging
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun

from tasks.errors import TRANSPORT_ERRORS, SlipwayError
from tasks.fleet import Fleet
from tasks.settings import settings
from tasks.store import Store

P = ParamSpec("P")
R = TypeVar("R")


def step(name: str, function: Callable[P, R], run_name: str | None = None) -> Task[P, R]:
    """`function` as a task called `name`, its runs called `run_name` with the task's arguments filled in."""
    return task(
        name=name,
        task_run_name=run_name or name,
        cache_policy=NO_CACHE,
        retries=3,
        retry_delay_seconds=[1, 2, 4],
        retry_condition_fn=_is_transport_error,
    )(function)


def with_fleet(function: Callable[Concatenate[Fleet, P], R]) -> Callable[Concatenate[str, P], R]:
    """`function` with a fleet's name as its first argument, in the place of the fleet."""

    @functools.wraps(function)
    def connected(fleet: str, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return function(Fleet.connect(settings(), fleet), *args, **kwargs)

    return connected


def with_store(function: Callable[Concatenate[Store, P], R]) -> Callable[P, R]:
    """`function` with the settings' store as its first argument: between tasks go names, never a client."""

    @functools.wraps(function)
    def connected(*args: P.args, **kwargs: P.kwargs) -> R:
        return function(Store.connect(settings()), *args, **kwargs)

    # Prefect binds and shows the parameters by this signature, so the store must not stand in it.
    whole = inspect.signature(function)
    mine = list(whole.parameters.values())[1:]
    connected.__signature__ = whole.replace(parameters=mine)  # type: ignore[attr-defined]
    return connected


async def _is_transport_error(_task: Any, _run: TaskRun, state: State[Any]) -> bool:
    """Whether trying again may help."""
    result = await state.aresult(raise_on_failure=False)
    return isinstance(result, TRANSPORT_ERRORS)


class _InOneSentence(logging.Filter):
    """Our own errors say what was wrong and what to do; a stack trace below them would only hide it."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], SlipwayError):
            record.exc_info = None
        return True


for _runs in ("prefect.task_runs", "prefect.flow_runs"):
    logging.getLogger(_runs).addFilter(_InOneSentence())

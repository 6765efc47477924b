"""Every step that flows take: functions of `tasks` as Prefect tasks, with the reports and events that tell of them.

A step has its function's name. It is never cached; only a transport error is retried. Names and records pass between
steps, never a client: each step opens its own connections.
"""

import functools
import inspect
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.events import Event

from flows import artifacts, events
from flows.artifacts import Report
from tasks.delivery import preview, prune, recover, rollback, rollout
from tasks.delivery.preview import Preview
from tasks.delivery.prune import Pruning
from tasks.delivery.rollout import RolloutEnd
from tasks.errors import TRANSPORT_ERRORS, SlipwayError
from tasks.fleet import history, replicas
from tasks.fleet.config import Fleet
from tasks.fleet.history import ConfigChange
from tasks.fleet.replicas import ReplicaState
from tasks.records import Build, Comparison, Manifest, RolloutRecord, Verdict
from tasks.reports import pages
from tasks.savedmodel import prepare
from tasks.settings import Settings, settings
from tasks.store.base import Store
from tasks.store.connect import connect
from tasks.tracking import registry
from tasks.training import elsewhere, parameters
from tasks.training import run as training
from tasks.training.run import TrainedBuild
from tasks.validation import gate, sandbox
from tasks.validation import soak as soaking
from tasks.validation import validate as validation
from tasks.validation.validate import ValidationReport
from tasks.versions import known, policies
from tasks.versions import publish as publishing
from tasks.versions.signing import Trust

P = ParamSpec("P")
R = TypeVar("R")

PAUSES = (1, 2, 4)  # seconds before each retry of a step
PATIENT_PAUSES = (*PAUSES, 8, 16)  # in the middle of a rollout, which a store that starts again should not end


def step(
    function: Callable[P, R],
    run_name: str | None = None,
    report: Callable[Concatenate[R, P], Report] | None = None,
    tell: Callable[Concatenate[R, P], Iterable[Event]] | None = None,
    pauses: Sequence[float] = PAUSES,
) -> Task[P, R]:
    """`function` as a Prefect task of the same name; its runs are called `run_name`, with its arguments filled in.

    Args:
        report: makes the report that the Prefect UI shows, from the function's result and arguments.
        tell: makes the events that automations act on, from the same.
        pauses: before each retry, seconds.
    """
    name = function.__name__.replace("_", " ")
    return task(
        name=name,
        task_run_name=run_name or name,
        cache_policy=NO_CACHE,
        retries=len(pauses),
        retry_delay_seconds=[*pauses],
        retry_condition_fn=_is_transport_error,
    )(_reported(function, report, tell) if report or tell else function)


def with_fleet(function: Callable[Concatenate[Fleet, P], R]) -> Callable[Concatenate[str, P], R]:
    """`function` with a fleet's name as its first argument, in place of the fleet."""

    @functools.wraps(function)
    def connected(fleet: str, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return function(Fleet.connect(settings(), fleet), *args, **kwargs)

    return connected


def with_store(function: Callable[Concatenate[Store, P], R]) -> Callable[P, R]:
    """`function` with the settings' store as its first argument, which callers leave out."""

    @functools.wraps(function)
    def connected(*args: P.args, **kwargs: P.kwargs) -> R:
        return function(connect(settings()), *args, **kwargs)

    return _without_first(1, function, connected)


def with_settings(function: Callable[Concatenate[Settings, P], R]) -> Callable[P, R]:
    """`function` with this process's settings as its first argument, which callers leave out."""

    @functools.wraps(function)
    def connected(*args: P.args, **kwargs: P.kwargs) -> R:
        return function(settings(), *args, **kwargs)

    return _without_first(1, function, connected)


def with_trusted_store(function: Callable[Concatenate[Store, Trust, P], R]) -> Callable[P, R]:
    """`function` with the settings' store and trust as its first arguments, which callers leave out."""

    @functools.wraps(function)
    def connected(*args: P.args, **kwargs: P.kwargs) -> R:
        return function(connect(settings()), Trust.of(settings()), *args, **kwargs)

    return _without_first(2, function, connected)


def _without_first(count: int, function: Callable[..., R], connected: Callable[P, R]) -> Callable[P, R]:
    """`connected`, shown with the parameters of `function` but its first: Prefect binds arguments by what it shows."""
    whole = inspect.signature(function)
    left = list(whole.parameters.values())[count:]
    connected.__signature__ = whole.replace(parameters=left)  # type: ignore[attr-defined]
    return connected


def _reported(
    function: Callable[P, R],
    report: Callable[Concatenate[R, P], Report] | None,
    tell: Callable[Concatenate[R, P], Iterable[Event]] | None,
) -> Callable[P, R]:
    @functools.wraps(function)
    def reported(*args: P.args, **kwargs: P.kwargs) -> R:
        found = function(*args, **kwargs)
        if tell:
            events.emit(*tell(found, *args, **kwargs))
        if report:
            artifacts.show(report(found, *args, **kwargs))
        return found

    return reported


async def _is_transport_error(_task: Any, _run: TaskRun, state: State[Any]) -> bool:
    """Whether a retry may help."""
    result = await state.aresult(raise_on_failure=False)
    return isinstance(result, TRANSPORT_ERRORS)


class _InOneSentence(logging.Filter):
    """Leaves out the stack traces of our own errors: their messages say what was wrong and what to do."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], SlipwayError):
            record.exc_info = None
        return True


for _runs in ("prefect.task_runs", "prefect.flow_runs"):
    logging.getLogger(_runs).addFilter(_InOneSentence())


def _training(found: TrainedBuild, *_: object, **__: object) -> Report:
    model = found.build.model
    page = pages.training(model, found.run, found.build.training, found.evaluation, found.mlflow_url)
    return Report(page, f"Training of {model}", ("training", model))


def _comparison(found: Comparison, _fleet: str, build: Build, *_: object, **__: object) -> Report:
    return Report(pages.comparison(build.model, found), f"Gate of {build.model}", ("gate", build.model))


def _validation(found: ValidationReport, *_: object, **__: object) -> Report:
    description = f"{found.model} version {found.version} as {found.target}"
    return Report(pages.validation(found), description, ("validation", str(found.target)))


def _preview(found: Preview, *_: object, **__: object) -> Report:
    plan = found.plan
    description = f"Plan of {plan.model} {plan.version} to {found.fleet}"
    return Report(pages.plan(found), description, ("plan", found.fleet, plan.model))


def _replicas(found: list[ReplicaState], fleet: str) -> Report:
    newest = Fleet.connect(settings(), fleet).newest().number
    return Report(pages.replicas(fleet, newest, found), f"Replicas of {fleet}", ("replicas", fleet))


def _history(found: list[ConfigChange], fleet: str, *_: object, **__: object) -> Report:
    return Report(pages.history(fleet, found), f"History of {fleet}", ("history", fleet))


def _pruning(found: Pruning, *_: object, **__: object) -> Report:
    return Report(pages.pruning(found), f"Versions of {found.model}: which may go", ("prune", found.model))


def _published(manifest: Manifest, build: Build, run: str, *_: object, **__: object) -> list[Event]:  # noqa: ARG001
    return [events.published(manifest, run)]


def _began(record: RolloutRecord, fleet: str, *_: object, **__: object) -> list[Event]:
    return [events.rollout("began", fleet, record, record.forced)]


def _accepted(verdict: Verdict, fleet: str, record: RolloutRecord) -> list[Event]:
    return [events.decided(fleet, record, verdict)]


def _ended(end: RolloutEnd, fleet: str, *_: object, **__: object) -> list[Event]:
    return events.ended(fleet, end)


def _retired(verdict: Verdict | None, *_: object, **__: object) -> list[Event]:
    return [events.retired(verdict)] if verdict is not None else []


# By which rule.
choose_policy = step(with_settings(with_store(policies.choose_policy)), "choose the policy for {model}")

# Making a version.
choose_parameters = step(with_trusted_store(parameters.choose_parameters), "choose parameters for {model}")
read_data = step(with_settings(with_store(training.read_data)), "read the data {chosen.data}")
made_of = step(with_settings(training.made_of))
find_same_training = step(with_store(known.find_same_training))
find_same_content = step(with_store(known.find_same_content))
train_and_export = step(with_settings(with_store(training.train_and_export)), "train and export {model}", _training)
prepare_saved_model = step(with_settings(prepare.prepare_saved_model))
try_in_sandbox = step(with_settings(sandbox.try_in_sandbox), "try {build.model} in a sandbox")
examine = step(with_trusted_store(with_settings(elsewhere.examine)), "examine {build.model}")
compare_with_live = step(with_fleet(gate.compare_with_live), "compare {build.model} with the live version", _comparison)
publish = step(with_trusted_store(publishing.publish), "publish {build.model}", tell=_published)
discard_build = step(prepare.discard_build)
keep_build = step(prepare.keep_build)
clear_leftovers = step(with_settings(prepare.clear_leftovers))
record_in_mlflow = step(with_settings(with_store(registry.record_in_mlflow)), "record {model} {version} in MLflow")

# Rolling it out.
in_rollout = functools.partial(step, pauses=PATIENT_PAUSES)
require_replicas = step(with_fleet(replicas.require_replicas))
begin_rollout = step(with_fleet(rollout.begin_rollout), tell=_began)
make_plan = in_rollout(with_fleet(rollout.make_plan))
serve = in_rollout(with_fleet(rollout.serve), "serve {record.model} {record.version} as {stage.target}")
await_config = in_rollout(with_fleet(replicas.await_config))
read_expected = in_rollout(
    with_fleet(validation.read_expected), "read what {record.model} {record.version} must answer"
)
validate = step(validation.validate, "validate {target}", _validation)
soak = step(soaking.soak, "soak {target} for {seconds:g} s")
accept = in_rollout(with_fleet(rollout.accept), "accept {record.model} {record.version}", tell=_accepted)
finish_rollout = in_rollout(with_fleet(rollout.finish_rollout), tell=_ended)
abort = in_rollout(with_fleet(recover.abort), "abort {record.model} {record.version}", tell=_ended)

# Rollback, recovery, and clearing what was left.
choose_rollback = step(with_fleet(rollback.choose_rollback))
find_dead_rollouts = step(with_fleet(recover.find_dead_rollouts))
drop_orphans = step(with_fleet(recover.drop_orphans))
recover_rollout = step(with_fleet(recover.recover_rollout), tell=_ended)
tell_of_replicas = step(with_fleet(events.tell_of_replicas))
converge_without_agents = step(with_fleet(replicas.converge_without_agents))
discard_abandoned = step(with_settings(with_store(prune.discard_abandoned)))
choose_versions = step(with_settings(with_store(prune.choose_versions)), report=_pruning)
delete_version = step(with_trusted_store(prune.delete_version), "delete {model} {version}", tell=_retired)
finish_pruning = step(with_settings(with_store(prune.finish_pruning)))
record_retirement = step(
    with_settings(with_store(prune.record_retirement)), "record in MLflow that {model} {version} is retired"
)

# Looking at a fleet.
preview_rollout = step(with_fleet(preview.preview_rollout), "preview {model} {version}", _preview)
replica_states = step(with_fleet(replicas.replica_states), report=_replicas)
fleet_history = step(with_fleet(history.fleet_history), report=_history)

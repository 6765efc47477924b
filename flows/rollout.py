"""Rolling a published version out to a fleet: stage by stage, each validated on every replica, else aborted."""

from typing import Any

from prefect import flow
from prefect.runtime import flow_run

from flows.defaults import FLEET
from flows.steps import (
    abort,
    accept,
    await_config,
    begin_rollout,
    choose_policy,
    find_dead_rollouts,
    finish_rollout,
    make_plan,
    read_expected,
    record_in_mlflow,
    recover_rollout,
    require_replicas,
    serve,
    soak,
    tell_of_replicas,
    validate,
)
from tasks.delivery.strategies import StrategyName
from tasks.errors import RolloutFailed
from tasks.validation.validate import ValidationReport


@flow(name="rollout", flow_run_name="rollout {model} {version} to {fleet}")
def rollout(
    model: str,
    version: int,
    fleet: str = FLEET,
    strategy: StrategyName = "blue-green",
    force: str | None = None,
    new_fleet: bool = False,
    policy: dict[str, Any] | None = None,
) -> ValidationReport:
    """Have every replica of `fleet` serve `version` of `model`, or what it served before.

    The strategy plans the stages. Clients never meet a version that has not been accepted, and whoever finds a rollout
    dead finishes one whose version was, and aborts any other.

    Args:
        force: a reason for rolling it out even if it breaks clients of the live version, or is much slower;
            kept with the verdict.
        new_fleet: go on though no replica of the fleet reports, and wait for its first one.
        policy: values of the rule by which it passes that go before the model's own policy and the settings.

    Raises:
        NoReplica: no replica would serve it. Nothing was changed.
        GateFailed: it breaks clients of the live version. Nothing was changed.
        RolloutFailed: the rollout was aborted; says why, and what serves now.
        RolloutConflict: another rollout of the model is under way.
    """
    require_replicas(fleet, new_fleet)
    for dead in find_dead_rollouts(fleet, model):
        recover_rollout(fleet, dead)
    rule = choose_policy(model, policy)
    record = begin_rollout(fleet, model, version, strategy, flow_run.root_flow_run_id, rule, force)
    try:
        expected = read_expected(fleet, record, rule)
        for stage in make_plan(fleet, record).stages:
            replicas = await_config(fleet, serve(fleet, record, stage), model, rule, stage.only)
            report = validate(expected, stage.target, replicas, beside_live=stage.accepts)
            report.require_passed()
            if stage.soak:
                soak(expected, stage.target, replicas, stage.soak)
            if stage.accepts:
                accept(fleet, record)
    except BaseException as error:
        end = abort(fleet, record, error)
        record_in_mlflow(model, version)
        raise RolloutFailed(end.sentence) from error
    for decided in finish_rollout(fleet, record).versions:
        record_in_mlflow(model, decided)
    tell_of_replicas(fleet)
    return report

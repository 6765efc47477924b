"""Rolling a published version out to a fleet: stage by stage, each validated on every replica, or back."""

from prefect import flow
from prefect.runtime import flow_run

from flows.defaults import FLEET
from flows.reconcile import reconcile
from flows.steps import (
    abort,
    accept,
    await_config,
    begin_rollout,
    end_rollout,
    make_plan,
    require_live,
    serve,
    soak,
    tell_mlflow,
    validate,
)
from tasks.records import Strategy
from tasks.validation.validate import ValidationReport


@flow(name="rollout", flow_run_name="{model} {version} to {fleet}")
def rollout(
    model: str,
    version: int,
    fleet: str = FLEET,
    strategy: Strategy = "blue-green",
    force: str | None = None,
    new_fleet: bool = False,
) -> ValidationReport:
    """Have every replica of `fleet` serve `version` of `model`, or what it served before.

    Clients never meet a version that has not been validated: it is served under another name first, and by strategy
    `labels` soaked there for a while.

    Args:
        force: a reason for rolling it out even if it breaks clients of the version that serves, or is much slower;
            kept with the verdict.
        new_fleet: go on though no replica of the fleet is live, and wait for its first one.

    Raises:
        NoLiveReplica: nobody would serve it. Nothing was changed.
        GateFailed: it breaks them. Nothing was changed.
        RolloutFailed: the version was taken back; says why, and what serves now.
        RolloutConflict: another rollout of the model is under way.
    """
    require_live(fleet, new_fleet)
    reconcile(fleet)
    record = begin_rollout(fleet, model, version, strategy, flow_run.id, force)
    try:
        trial, live = make_plan(fleet, record).stages
        replicas = await_config(fleet, serve(fleet, record, trial), model)
        validate(fleet, model, version, trial.endpoint, replicas, record.against).require_passed()
        if record.soak:
            soak(fleet, record, trial.endpoint, replicas)
        accept(fleet, record)
        replicas = await_config(fleet, serve(fleet, record, live), model)
        report = validate(fleet, model, version, live.endpoint, replicas)
        report.require_passed()
    except BaseException as error:
        failure = abort(fleet, record, error)
        tell_mlflow(model, version)
        raise failure from error
    end_rollout(fleet, record)
    tell_mlflow(model, version)
    return report

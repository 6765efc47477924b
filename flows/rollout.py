"""Rolling a published version out to a fleet: tried as a candidate, validated, switched to, validated again."""

from prefect import flow
from prefect.runtime import flow_run

from flows.reconcile import reconcile
from tasks.layout import candidate_name
from tasks.rollout import accept, await_fleet, begin, end, switch, take_back, try_candidate
from tasks.validate import validate


@flow(name="rollout", flow_run_name="{model} {version} to {fleet}")
def rollout(model: str, version: int, fleet: str = "default") -> None:
    """Have every replica of `fleet` serve `version` of `model`, or what it served before.

    Clients of `model` never meet a version that has not been validated: it is served as a candidate first.

    Raises:
        RolloutFailed: the version was taken back; says why, and what serves now.
        RolloutConflict: another rollout of the model is under way.
    """
    reconcile(fleet)
    record = begin(fleet, model, version, flow_run.id)
    try:
        await_fleet(fleet, try_candidate(fleet, record))
        validate(fleet, model, version, candidate_name(model)).require_passed()
        await_fleet(fleet, switch(fleet, record))
        validate(fleet, model, version, model).require_passed()
        accept(fleet, record)
    except BaseException as error:
        raise take_back(fleet, record, error) from error
    end(fleet, record)

"""Going back to an earlier version, validated like any rollout."""

from prefect import flow

from flows.defaults import FLEET
from flows.rollout import rollout
from flows.steps import find_way_back
from tasks.validation.validate import ValidationReport


@flow(name="rollback", flow_run_name="{model} back")
def rollback(model: str, to: int | None = None, fleet: str = FLEET) -> ValidationReport:
    """Have `fleet` serve an earlier version of `model` again; what its live answers were.

    Args:
        to: the version to go back to; the newest accepted one below the served one if not given.

    Raises:
        NoLiveReplica: nobody would serve it. Nothing was changed.
        NotFound: there is no such version, or none to go back to.
        RolloutFailed: the earlier version was taken back; says why, and what serves now.
    """
    back = find_way_back(fleet, model, to)
    return rollout(model, back.version, fleet, back.strategy)

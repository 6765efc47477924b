"""Finishing or undoing what dead runs began."""

from prefect import flow

from flows.defaults import FLEET
from flows.steps import converge_without_agents, discard_abandoned, find_dead_rollouts, recover_rollout


@flow(name="reconcile", flow_run_name="reconcile {fleet}")
def reconcile(fleet: str = FLEET) -> list[str]:
    """Bring `fleet` out of every rollout whose run is gone; what was done, or could not be, a sentence for each.

    Servers without agents are brought back to the fleet's newest config: one that was started anew, or was away.
    Numbers that were claimed long ago, by publishers that died, are closed and what they sent is deleted.
    """
    return [
        *(recover_rollout(fleet, record) for record in find_dead_rollouts(fleet)),
        *converge_without_agents(fleet),
        *discard_abandoned(),
    ]

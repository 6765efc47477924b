"""Finishing or undoing rollouts whose run has died."""

from prefect import flow

from tasks.rollout import find_dead, recover


@flow(name="reconcile", flow_run_name="reconcile {fleet}")
def reconcile(fleet: str = "default") -> list[str]:
    """Bring `fleet` out of every rollout whose run is gone; what was done, a sentence for each."""
    return [recover(fleet, record) for record in find_dead(fleet)]

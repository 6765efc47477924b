"""Finishing or aborting the rollouts of dead runs, and clearing what dead publishers left."""

from prefect import flow

from flows.defaults import FLEET
from flows.steps import (
    clear_leftovers,
    converge_without_agents,
    discard_abandoned,
    drop_orphans,
    find_dead_rollouts,
    recover_rollout,
    tell_of_replicas,
)


@flow(name="reconcile", flow_run_name="reconcile {fleet}")
def reconcile(fleet: str = FLEET) -> list[str]:
    """Finish or abort every rollout of `fleet` whose run is dead; what was done or failed, a sentence for each.

    A version on trial that no rollout owns, its record being lost, is not served any longer.

    Servers without agents are brought back to the fleet's newest config, if they were restarted or away. Numbers that
    publishers claimed long ago and then died are closed, and what they sent is deleted; so is what ended processes left
    on this machine.
    """
    done = [
        *(recover_rollout(fleet, record).sentence for record in find_dead_rollouts(fleet)),
        *drop_orphans(fleet),
        *converge_without_agents(fleet),
        *discard_abandoned(),
    ]
    tell_of_replicas(fleet)
    clear_leftovers()
    return done

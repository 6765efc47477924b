"""Looking at a fleet: its replicas, its history, and what a rollout would do. Nothing is changed."""

from typing import Any

from prefect import flow

from flows.defaults import FLEET
from flows.steps import choose_policy, fleet_history, preview_rollout, replica_states
from tasks.delivery.preview import Preview
from tasks.delivery.strategies import StrategyName
from tasks.fleet.history import ConfigChange
from tasks.fleet.replicas import ReplicaState


@flow(name="plan", flow_run_name="plan {model} {version} to {fleet}")
def plan(
    model: str,
    version: int,
    fleet: str = FLEET,
    strategy: StrategyName = "blue-green",
    policy: dict[str, Any] | None = None,
) -> Preview:
    """What a rollout of `version` to `fleet` would load, unload and relabel, as an artifact of this run."""
    return preview_rollout(fleet, model, version, strategy, choose_policy(model, policy))


@flow(name="replicas", flow_run_name="replicas of {fleet}")
def replicas(fleet: str = FLEET) -> list[ReplicaState]:
    """The latest reports of the replicas of `fleet`, as an artifact of this run."""
    return replica_states(fleet)


@flow(name="history", flow_run_name="history of {fleet}")
def history(fleet: str = FLEET, last: int = 20) -> list[ConfigChange]:
    """The newest configs of `fleet`, with their runs and reasons, as an artifact of this run."""
    return fleet_history(fleet, last)

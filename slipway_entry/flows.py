"""The flows as deployments name them, so that a worker finds Slipway's whatever else is called `flows` there."""

from flows.fleet import history, plan, replicas
from flows.prune import prune
from flows.reconcile import reconcile
from flows.release import release, release_saved_model
from flows.rollback import rollback
from flows.rollout import rollout
from flows.train import train

__all__ = [
    "history",
    "plan",
    "prune",
    "reconcile",
    "release",
    "release_saved_model",
    "replicas",
    "rollback",
    "rollout",
    "train",
]

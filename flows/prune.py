"""Deleting old versions of a model."""

import dataclasses

from prefect import flow
from prefect.runtime import flow_run

from tasks.prune import Pruning, choose, delete, finish, tell


@flow(name="prune", flow_run_name="prune {model}")
def prune(model: str, keep: int = 10, yes: bool = False) -> Pruning:
    """Delete all versions of `model` but the newest and those that are still needed.

    Args:
        keep: how many of the newest versions stay, rejected ones not counted.
        yes: delete them; otherwise they are only listed, in an artifact of this run.
    """
    pruning = choose(model, keep)
    if not yes:
        return pruning
    deleted = [fate.version for fate in pruning.going if delete(model, fate.version, flow_run.id)]
    finish(model)
    for version in deleted:
        tell(model, version)
    return dataclasses.replace(pruning, deleted=tuple(deleted))

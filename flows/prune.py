"""Deleting old versions of a model."""

import dataclasses

from prefect import flow
from prefect.runtime import flow_run

from flows.steps import choose_versions, delete_version, finish_pruning, record_retirement
from tasks.delivery.prune import Pruning


@flow(name="prune", flow_run_name="prune {model}")
def prune(model: str, keep: int = 10, yes: bool = False) -> Pruning:
    """Delete all versions of `model` except the newest and those that are still needed.

    Args:
        keep: how many of the newest versions stay, not counting rejected ones.
        yes: delete them; otherwise list them only, in an artifact of this run.
    """
    pruning = choose_versions(model, keep)
    if not yes:
        return pruning
    deleted = [fate.version for fate in pruning.going if delete_version(model, fate.version, flow_run.root_flow_run_id)]
    finish_pruning(model)
    for version in deleted:
        record_retirement(model, version)
    return dataclasses.replace(pruning, deleted=tuple(deleted))

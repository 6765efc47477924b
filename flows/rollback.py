"""Serving an earlier version again, validated like any rollout."""

from typing import Any

from prefect import flow

from flows.defaults import FLEET
from flows.rollout import rollout
from flows.steps import choose_rollback
from tasks.validation.validate import ValidationReport


@flow(name="rollback", flow_run_name="rollback {model}")
def rollback(
    model: str, to: int | None = None, fleet: str = FLEET, policy: dict[str, Any] | None = None
) -> ValidationReport:
    """Have `fleet` serve an earlier version of `model` again; returns how its served answers were validated.

    Args:
        to: the version to serve; the newest accepted one below the live one if not given.
        policy: values of the rule by which it passes that go before the model's own policy and the settings.

    Raises:
        NoReplica: no replica would serve it. Nothing was changed.
        NotFound: there is no such version, or no accepted one below the live one.
        RolloutFailed: the rollout was aborted; says why, and what serves now.
    """
    chosen = choose_rollback(fleet, model, to)
    return rollout(model, chosen.version, fleet, chosen.strategy, policy=policy)

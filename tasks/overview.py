"""A fleet for people who look at it in the Prefect UI: its replicas, its history and a rollout's plan, as reports."""

from tasks import artifacts, reports
from tasks.fleet import Fleet
from tasks.history import ConfigChange, fleet_history
from tasks.preview import Preview, preview_rollout
from tasks.records import Strategy
from tasks.replicas import ReplicaState, states
from tasks.step import step, with_fleet


def report_plan(fleet: Fleet, model: str, version: int, strategy: Strategy) -> Preview:
    """Keep a report of what a rollout would do."""
    found = preview_rollout(fleet, model, version, strategy)
    artifacts.show(reports.plan(found), f"Plan of {model} {version} to {fleet.name}", "plan", fleet.name, model)
    return found


def report_replicas(fleet: Fleet) -> list[ReplicaState]:
    """Keep a report of the fleet's replicas."""
    newest, found = fleet.newest().number, states(fleet)
    artifacts.show(reports.replicas(fleet.name, newest, found), f"Replicas of {fleet.name}", "replicas", fleet.name)
    return found


def report_history(fleet: Fleet, last: int) -> list[ConfigChange]:
    """Keep a report of the fleet's newest configs."""
    found = fleet_history(fleet, last)
    artifacts.show(reports.history(fleet.name, found), f"History of {fleet.name}", "history", fleet.name)
    return found


plan_report = step("plan", with_fleet(report_plan), "plan {model} {version}")
replicas_report = step("look at replicas", with_fleet(report_replicas))
history_report = step("read history", with_fleet(report_history))

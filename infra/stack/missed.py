"""Scheduled runs that were missed while the stack was down: only the latest of each schedule is run.

As with anacron and systemd's `Persistent=`, a stack that was down for a week makes last night's release, and not seven.
Prefect itself would run all that it had planned.
"""

import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from infra.stack import probes
from infra.stack.login import authorization
from tasks.errors import StackError
from tasks.settings import Settings

_PAGE = 200  # runs that Prefect lists at once
_AT_ONCE = 10
_SECONDS = 60.0
_SKIPPED = {
    "type": "CANCELLED",
    "name": "Skipped",
    "message": "Missed while the stack was down; a later run of the same schedule replaces it.",
}


def skip_missed_runs(settings: Settings) -> int:
    """Skip all missed runs of each schedule but the latest; how many runs were skipped.

    Raises:
        StackError: Prefect cannot list its runs, or cannot skip them.
    """
    skipped, end = set[str](), time.monotonic() + _SECONDS
    while True:
        runs = _missed(settings)
        surplus = None if runs is None else superseded(runs)
        if surplus == []:
            return len(skipped)
        for run in (surplus or [])[:_AT_ONCE]:
            skipped.add(run)
        if surplus:
            _skip(settings, surplus[:_AT_ONCE])
        if time.monotonic() > end:
            raise StackError(
                f"The Prefect server at {settings.prefect_api} does not list or skip scheduled runs that were missed. "
                "Logs: slipway logs prefect"
            )
        if surplus is None:
            time.sleep(0.5)


def superseded(runs: Iterable[Mapping[str, Any]]) -> list[str]:
    """Ids of those of `runs`, which are given latest first, that a later one of the same schedule replaces."""
    seen, earlier = set[str](), []
    for run in runs:
        if not run["auto_scheduled"]:  # started by hand or by an event
            continue
        schedule = (run.get("created_by") or {}).get("id") or run["deployment_id"]
        if schedule in seen:
            earlier.append(run["id"])
        seen.add(schedule)
    return earlier


def _missed(settings: Settings) -> list[dict[str, Any]] | None:
    """Runs that should have begun by now, latest first; None if Prefect does not answer."""
    body = {
        "flow_runs": {
            "state": {"type": {"any_": ["SCHEDULED"]}},
            "expected_start_time": {"before_": datetime.now(UTC).isoformat()},
        },
        "sort": "EXPECTED_START_TIME_DESC",
        "limit": _PAGE,
    }
    found: list[dict[str, Any]] | None = probes.post_json(
        f"{settings.prefect_api}/flow_runs/filter", body, authorization(settings)
    )
    return found


def _skip(settings: Settings, runs: list[str]) -> None:
    body = {"flow_runs": {"id": {"any_": runs}}, "state": _SKIPPED, "force": True}
    probes.post_json(f"{settings.prefect_api}/flow_runs/bulk_set_state", body, authorization(settings))

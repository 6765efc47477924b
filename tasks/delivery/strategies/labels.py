"""`labels`: it soaks on trial, then the label `stable` moves to it; the version before stays if its number is lower.

A rollback to that one needs no other name for its trial, since it can be asked by its number.
"""

from tasks.delivery.stages import Stage, Start, final, trial
from tasks.fleet.config import STABLE, Serving


def stages(start: Start) -> tuple[Stage, ...]:
    """On trial, and soaked there; then beside the version before."""
    lower = [version for version in start.not_above if version < start.version][-1:]
    after = Serving(start.model, (*lower, start.version), {STABLE: start.version})
    return trial(start, after, soak=start.soak), final(start, after)

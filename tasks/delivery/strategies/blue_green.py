"""`blue-green`: after its trial the version takes the model's name, and the label `stable` if clients ask for that."""

from tasks.delivery.stages import Stage, Start, final, trial


def stages(start: Start) -> tuple[Stage, ...]:
    """On trial beside what serves; then in its place."""
    after = start.alone
    return trial(start, after), final(start, after)

"""The logs of the stack's programs."""

from pathlib import Path

_TAIL_BYTES = 64 * 1024


def last_lines(path: Path, count: int = 15) -> str:
    """The last lines of a log, indented for a message, or a line that says that there are none."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        text = ""
    lines = text.rstrip().splitlines()[-count:]
    return "\n".join(f"    {line}" for line in lines) or "    (nothing was logged)"

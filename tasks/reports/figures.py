"""Numbers as people read them."""

from datetime import datetime


def size(count: int) -> str:
    """A size in bytes, with two digits or more: `512 B`, `2.5 MB`, `134 MB`."""
    value, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" or value >= 9.95 else f"{value:.1f} {unit}"


def duration(seconds: int) -> str:
    """A time in its two largest units: `3 min 20 s`."""
    for unit, name, smaller, small in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= unit:
            return f"{seconds // unit} {name} {seconds % unit // smaller} {small}"
    return f"{seconds} s"


def moment(time: datetime | None) -> str:
    """A moment, to the second."""
    return "unknown" if time is None else f"{time:%Y-%m-%d %H:%M:%S}"


def metric(value: float | None, otherwise: str = "") -> str:
    """A metric such as an accuracy in 0..1; `otherwise` if it is not known."""
    return otherwise if value is None else f"{value:.4f}"


def figure(value: float | None) -> str:
    """Anything that was measured: whole numbers without decimals, others with four digits; nothing if it was not."""
    if value is None:
        return ""
    return f"{value:,.0f}" if value == int(value) else f"{value:.4g}"


def share(part: int, whole: int) -> str:
    """`part` of `whole` in percent."""
    return f"{part / whole:.1%}" if whole else "none"


def count(number: int, what: str) -> str:
    """So many of `what`, which takes an s in the plural."""
    return f"{number:,} {what}{'s' * (number != 1)}"

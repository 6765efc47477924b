"""The checks that every version is put to: by validation, in its sandbox, and while it soaks."""

from importlib import import_module

from tasks.validation.checks.base import Check, Expected, Finding, Subject

# Modules of this folder, in the order in which their checks ask.
NAMES = (
    "golden_answers",
    "speed",
    "held_out_score",
)
CHECKS: tuple[Check, ...] = tuple(import_module(f"{__package__}.{name}").CHECK for name in NAMES)


def findings(subject: Subject) -> list[Finding]:
    """What all checks find of a version on one replica.

    Raises:
        ServingUnreachable: no answer, which says nothing about the version.
    """
    return [finding for check in CHECKS for finding in check(subject)]


def sentences(expected: Expected) -> list[str]:
    """What each check will ask of each replica, before anything is asked or loaded."""
    found = (check.sentence(expected) for check in CHECKS)
    return [sentence for sentence in found if sentence is not None]

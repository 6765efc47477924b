"""Help for each command."""

from collections.abc import Callable
from typing import Any, TypeVar

Command = TypeVar("Command", bound=Callable[..., Any])
_ATTRIBUTE = "__slipway_example__"


def example(line: str) -> Callable[[Command], Command]:
    """Decorate a command with the example that its help ends with: a whole command line."""

    def with_example(function: Command) -> Command:
        setattr(function, _ATTRIBUTE, line)
        return function

    return with_example


def example_of(function: Callable[..., Any]) -> str:
    """The example of a command."""
    return str(getattr(function, _ATTRIBUTE))

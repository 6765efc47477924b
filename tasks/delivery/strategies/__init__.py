"""Strategies: each file here plans the stages of a rollout, and its name is the strategy's.

`blue_green.py` is the strategy `blue-green`. A file has one function, `stages`, which is a `Strategy`. Forms and
commands offer what lies here.
"""

import importlib
import pkgutil
from typing import TYPE_CHECKING, Annotated, Any, Protocol

from pydantic import BeforeValidator, WithJsonSchema

from tasks.errors import InvalidInput
from tasks.records import RENAMED_STRATEGIES, renamed_strategy

if TYPE_CHECKING:  # a command line offers the names before it needs what the strategies plan with
    from tasks.delivery.stages import Stage, Start


class Strategy(Protocol):
    """How a fleet comes to serve a version."""

    def __call__(self, start: "Start", /) -> "tuple[Stage, ...]":
        """The stages that lead from `start` to its version, in their order; what must hold of them: `plan_rollout`."""
        ...


def known() -> tuple[str, ...]:
    """The names of all strategies, sorted."""
    return tuple(sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__)))


def present_name(name: str) -> str:
    """The name of a strategy that is called `name`, now or by an earlier release.

    Raises:
        InvalidInput: there is no such strategy.
    """
    found = renamed_strategy(name)
    if found not in known():
        raise InvalidInput(f"Strategy {name!r} is not known: use {_listed()}.")
    return found


def strategy_named(name: str) -> Strategy:
    """The strategy called `name`.

    Raises:
        InvalidInput: there is no such strategy.
    """
    module = importlib.import_module(f"{__name__}.{present_name(name).replace('-', '_')}")
    strategy: Strategy = module.stages
    return strategy


def _listed() -> str:
    *others, last = map(repr, known())
    return f"{', '.join(others)} or {last}" if others else last


def _checked(name: Any) -> str:
    try:
        return present_name(str(name))
    except InvalidInput as error:
        raise ValueError(str(error)) from None


# Forms offer the present names; the Prefect API, which checks parameters by the schema, takes the old ones too. These
# have no type there, so that the API's refusal of any other name lists the present ones (jsonschema's `best_match`).
StrategyName = Annotated[
    str,
    BeforeValidator(_checked),
    WithJsonSchema(
        {
            "anyOf": [
                {"title": "strategy", "type": "string", "enum": list(known())},
                {"title": "old name", "enum": list(RENAMED_STRATEGIES), "deprecated": True},
            ]
        }
    ),
]

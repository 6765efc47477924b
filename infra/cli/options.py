"""Options and arguments that several commands take."""

from typing import Annotated

import typer

from tasks.errors import InvalidInput
from tasks.records import STRATEGIES, StrategyName, strategy_named

Fleet = Annotated[str | None, typer.Option("--fleet", help="Fleet to deliver to; SLIPWAY_FLEET if not given.")]


def _strategy(name: str) -> StrategyName:
    try:
        return strategy_named(name)
    except InvalidInput as error:
        raise typer.BadParameter(str(error)) from None


StrategyOption = Annotated[
    StrategyName,
    typer.Option(
        "--strategy",
        parser=_strategy,
        metavar=f"[{'|'.join(STRATEGIES)}]",
        help="labels: soaked on trial, then it gets the label stable; the version before stays loaded.",
    ),
]
Version = Annotated[int, typer.Argument(help="Number of a published version, as in `slipway versions`.")]
FleetName = Annotated[str | None, typer.Argument(metavar="[FLEET]", help="SLIPWAY_FLEET if not given.")]
Model = Annotated[str, typer.Argument(help="Name of the model, as in /v1/models/NAME.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]

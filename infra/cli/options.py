"""Options and arguments that several commands take."""

from typing import TYPE_CHECKING, Annotated

import typer

from tasks.records import Strategy

if TYPE_CHECKING:
    pass


Fleet = Annotated[str | None, typer.Option("--fleet", help="Fleet to deliver to; SLIPWAY_FLEET if not given.")]


StrategyOption = Annotated[
    Strategy,
    typer.Option(
        "--strategy", help="labels: watched on trial, then bears the label stable, the version before stays loaded."
    ),
]


Version = Annotated[int, typer.Argument(help="Number of a published version, as in `slipway versions`.")]


FleetName = Annotated[str | None, typer.Argument(metavar="[FLEET]", help="SLIPWAY_FLEET if not given.")]


Model = Annotated[str, typer.Argument(help="Name of the model, as in /v1/models/NAME.")]


Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]

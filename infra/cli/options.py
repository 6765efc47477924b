"""The options and arguments of commands, those of several commands first."""

from pathlib import Path
from typing import Annotated

import typer

from tasks.delivery import strategies
from tasks.errors import InvalidInput


def _strategy(name: str) -> str:
    try:
        return strategies.present_name(name)
    except InvalidInput as error:
        raise typer.BadParameter(str(error)) from None


Model = Annotated[str, typer.Argument(help="Name of the model, as in /v1/models/NAME.")]
Version = Annotated[int, typer.Argument(help="Number of a published version, as in `slipway versions`.")]
Fleet = Annotated[str | None, typer.Option("--fleet", help="Fleet to deliver to; SLIPWAY_FLEET if not given.")]
FleetName = Annotated[str | None, typer.Argument(metavar="[FLEET]", help="SLIPWAY_FLEET if not given.")]
StrategyOption = Annotated[
    str,
    typer.Option(
        "--strategy",
        parser=_strategy,
        metavar=f"[{'|'.join(strategies.known())}]",
        help="labels: soaked on trial, then it gets the label stable; the version before stays loaded.",
    ),
]
NewFleet = Annotated[
    bool, typer.Option("--new-fleet", help="No replica of the fleet reports yet: wait for its first one.")
]
PolicyFile = Annotated[
    Path | None,
    typer.Option(
        "--policy",
        metavar="FILE",
        help="Rule by which it passes (TOML or JSON): goes before the model's own policy and the settings.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]

# release
Recipe = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        metavar="MODULE",
        help="What makes the model: package.module with a function `make`. If not given, the model is made as its last "
        "accepted version was, except for the options that are given.",
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="An argument of the recipe's `make`: JSON, or a text."),
]
Factory = Annotated[
    str | None,
    typer.Option("--factory", help="In place of a recipe: package.module:function, which returns the model."),
]
Signatures = Annotated[
    list[str] | None,
    typer.Option(
        "--signature",
        help="NAME=METHOD to export; all methods with an input_signature if not given. Of a --saved-model: NAME to "
        "publish; all if not given.",
    ),
]
Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="SOURCE",
        help="mnist-5k, mnist, a .npz, .csv or .parquet, a folder of images by class, s3://bucket/key, or "
        "package.module:function.",
    ),
]
Label = Annotated[str | None, typer.Option("--label", metavar="COLUMN", help="The column of a table that is learnt.")]
Epochs = Annotated[int | None, typer.Option("--epochs", min=1, help="Times that training sees all data; 15 at first.")]
Seed = Annotated[
    int | None,
    typer.Option("--seed", help="Seed of training; the same seed gives the same weights. 1 at first."),
]
SavedModel = Annotated[
    Path | None, typer.Option("--saved-model", help="Release this SavedModel instead of training one.")
]
SavedModelInputs = Annotated[
    Path | None, typer.Option("--inputs", help="Inputs for the golden examples of --saved-model (.npz or .json).")
]
ForceRelease = Annotated[
    str | None,
    typer.Option("--force", metavar="REASON", help="Publish it even if it is worse or breaks clients, and keep why."),
]
Ungated = Annotated[
    str | None,
    typer.Option(
        "--ungated", metavar="REASON", help="Publish it though nothing can be compared with the live version; keep why."
    ),
]
Again = Annotated[
    bool,
    typer.Option("--again", help="Even if a version was made from the same, or has the same content."),
]

# publish
Directory = Annotated[Path, typer.Argument(help="Folder of a SavedModel.")]
ModelOption = Annotated[str, typer.Option("--model", "-m", help="Name of the model, as in /v1/models/NAME.")]
Inputs = Annotated[
    Path | None,
    typer.Option("--inputs", help="Inputs for its golden examples (.npz or .json); made up if not given."),
]

# rollout, rollback
ForceRollout = Annotated[
    str | None,
    typer.Option("--force", metavar="REASON", help="Even if it breaks clients or is much slower; keeps why."),
]
EarlierVersion = Annotated[
    int | None,
    typer.Option("--to", help="Version to serve again; if not given, the accepted one with the next lower number."),
]

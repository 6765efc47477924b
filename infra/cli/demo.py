"""The demonstration: one release of a digit classifier, and three digits that its model server is asked for."""

import shutil
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from infra.cli.help import example
from tasks.records import Manifest
from tasks.settings import Settings, settings
from tasks.training.modules import require_visible

_MODEL = "MLP"
_DATA = "mnist-5k"
_DIGITS = 3
_SHADES = " .:-=+*#%@"


@example("slipway demo")
def demo(
    factory: Annotated[
        str | None,
        typer.Option("--factory", help="What makes the model: package.module:name; that of tasks.models if not given."),
    ] = None,
) -> None:
    """Start the stack if it is not up, release a digit classifier, and ask its model server for three test digits."""
    from infra.cli.flow_runs import running_flows
    from infra.stack.login import login_sentence
    from infra.stack.start import up

    if factory:
        require_visible(factory, settings().project)
    mine, began = settings(), time.monotonic()
    up(mine, print)
    with running_flows():
        from flows.release import Release, release
        from tasks.training.parameters import DEMO_RECIPE

        recipe, data = (None, _DATA) if factory else (DEMO_RECIPE, None)
        released = release(_MODEL, recipe, factory=factory, data=data, fleet=mine.fleet, again=True)
    assert isinstance(released, Release)  # nothing is too old to be made again
    print(f"\n{released.summary()}\n")
    _ask_for_digits(mine, released.manifest)
    print(f"\nDone in {time.monotonic() - began:.0f} s. Open:")
    for what, address in (
        ("Prefect: the run, step by step", mine.prefect_api.removesuffix("/api")),
        ("MLflow: curves, confusion matrix, versions", mine.mlflow_uri),
        ("The model's status", f"{mine.nearest_server.rest_url}/v1/models/{_MODEL}"),
    ):
        print(f"  {what:<44}{address}")
    print(f"  {login_sentence(mine)}")
    print(
        f"`{own_name()} versions {_MODEL}` lists what was published; `make demo` again publishes the next; "
        "`make down` stops all."
    )


def own_name() -> str:
    """What to type for `slipway`: its path if the shell would not find it."""
    return "slipway" if shutil.which("slipway") else str(Path(sys.prefix, "bin", "slipway"))


def _ask_for_digits(mine: Settings, manifest: Manifest) -> None:
    """Ask for three held-out digits, as any client would: one POST with `instances`, shape (3, 28, 28, 1)."""
    import numpy as np
    import requests

    from tasks.data.held_out import held_out_examples
    from tasks.store.connect import connect

    held_out = held_out_examples(connect(mine), manifest.training.dataset)
    assert held_out is not None  # it was trained here
    _, first = np.unique(held_out.labels["y"], return_index=True)
    three = held_out.rows(np.sort(first)[:_DIGITS])
    digits, truth = three.features["x"], three.labels["y"]
    url = f"{mine.nearest_server.rest_url}/v1/models/{_MODEL}:predict"
    print(f"Three test digits, asked of {url}")
    answer = requests.post(url, json={"instances": digits.tolist()}, timeout=mine.call_deadline)
    answer.raise_for_status()
    predictions = answer.json()["predictions"]
    for rows in zip(*(_picture(digit[:, :, 0]) for digit in digits), strict=True):
        print("   ".join(rows).rstrip())
    answers = [
        f"answered {max(range(10), key=scores.__getitem__)} ({max(scores):.1%}), true {label}"
        for scores, label in zip(predictions, truth, strict=True)
    ]
    print("   ".join(text.ljust(28) for text in answers).rstrip())


def _picture(digit: "list[list[float]]") -> list[str]:
    """A digit (28 rows of 28 pixels in [0, 1]) in characters, without every second row: characters are high."""
    return ["".join(_SHADES[min(9, int(value * 10))] for value in row) for row in digit[::2]]

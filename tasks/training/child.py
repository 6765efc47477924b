"""The process that runs a user's recipe: loads data, trains and exports, or scores answers. See `process`."""

import ctypes
import json
import logging
import os
import signal
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tasks.data.given import labelled
from tasks.errors import InvalidData, InvalidModel, SlipwayError
from tasks.files import write_atomically
from tasks.training import process
from tasks.training.modules import error_text, import_module
from tasks.training.process import ERROR, RESULT, Measure, PipeHandler, Request, Trained
from tasks.training.quiet import without_chatter
from tasks.training.recipe import Recipe, load_recipe, sliced
from tasks.wire.dtypes import Array

_SET_PDEATHSIG = 1  # linux/prctl.h


def main(work: str, exchange: str, pipe: str, parent: str) -> int:
    """Do what the request in `exchange` says, and leave the result or the error there; the exit code."""
    ctypes.CDLL(None).prctl(_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):  # it ended before that
        return 1
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: the parent, which gets it too, decides
    folder, teller = Path(exchange), PipeHandler(int(pipe))
    steps = logging.getLogger("tasks")
    steps.setLevel(logging.INFO)
    steps.propagate = False  # Keras' export gives the root logger a handler of its own
    steps.addHandler(teller)
    steps.propagate = False  # to a handler that a library gives the root
    request = Request.from_json((folder / process.REQUEST).read_bytes(), process.REQUEST)
    try:
        {"load": _load, "train": _train, "score": _score}[work](request, folder, teller)
    except SlipwayError as error:
        write_atomically(folder / ERROR, json.dumps([type(error).__name__, str(error)]).encode())
        return 1
    return 0


def _load(request: Request, folder: Path, _teller: PipeHandler) -> None:
    """Call what gives the examples, and write them."""
    with without_chatter():
        module = import_module(request.spec, Path(request.project))
    name, itself = request.spec.partition(":")[2], request.spec == request.source
    load, where = getattr(module, name, None), f"Data {request.spec!r}" if itself else f"{request.spec!r}"
    if not callable(load):
        raise InvalidData(f"{where}: module {module.__name__!r} has no function {name!r}.")
    try:
        given = load() if itself else load(request.source)
    except SlipwayError:
        raise
    except Exception as error:
        raise InvalidData(f"{where} failed: {error_text(error)}.") from error
    process.write_examples(labelled(given, where), folder / process.ROWS)


def _train(request: Request, folder: Path, teller: PipeHandler) -> None:
    """Train, keep the answers to the held-out examples, and export."""
    with without_chatter():
        import tensorflow as tf

        tf.config.list_physical_devices()  # looks for a GPU now, not in the middle of the training's log
    from tasks.training.export import export_saved_model
    from tasks.training.train import train

    trained = train(
        request.spec,
        process.read_dataset(folder, request),
        seed=request.seed,
        epochs=request.epochs,
        settings=request.settings,
        signatures=request.signatures,
        on_epoch=lambda number, metrics: teller.tell({"epoch": number, "metrics": dict(metrics)}),
        project=Path(request.project),
    )
    export_saved_model(trained, Path(request.directory))
    process.write_arrays({"answers": trained.answers, "slices": trained.slices}, folder / process.ANSWERS)
    found = Trained(trained.outputs, trained.scored, trained.unused, trained.figures, trained.gate, trained.scaled)
    write_atomically(folder / RESULT, found.to_json())


def _score(request: Request, folder: Path, _teller: PipeHandler) -> None:
    """Score several models' answers to the same rows, whole and by each choice of rows, and slice these rows."""
    with without_chatter():
        recipe = load_recipe(request.spec, Path(request.project))
    write_atomically(folder / RESULT, Measure(recipe.gate, recipe.score is not None).to_json())
    rows = process.read_arrays(folder / process.ROWS)
    groups = process.read_arrays(folder / process.ANSWERS)
    sets = np.split(rows["sets"]["rows"], rows["sets"]["ends"][:-1])
    labels = groups.pop("labels")
    models = [groups[number] for number in sorted(groups, key=int)]
    figures = _figures(recipe, labels, models, sets) if recipe.score is not None else {}
    slices = sliced(recipe, rows["features"]) if "features" in rows else {}
    process.write_arrays({"figures": figures, "slices": slices}, folder / process.FIGURES)


def _figures(
    recipe: Recipe, labels: Mapping[str, Array], models: Sequence[Mapping[str, Array]], sets: Sequence[Array]
) -> dict[str, Array]:
    """What the recipe's own score gives, [models, sets] by name: NaN for a set that it fails on."""
    from tasks.training.train import own_score

    whole = [own_score(recipe, labels, answers) for answers in models]
    figures: dict[str, Array] = {name: np.full((len(models), len(sets)), np.nan) for name in whole[0]}
    for number, rows in enumerate(sets):
        for model, answers in enumerate(models):
            try:
                with warnings.catch_warnings(action="ignore"):
                    scored = own_score(recipe, _chosen(labels, rows), _chosen(answers, rows))
            except InvalidModel:  # few rows may not do, such as those of one class for the area under a ROC curve
                continue
            for name in figures.keys() & scored.keys():
                figures[name][model, number] = scored[name]
    return figures


def _chosen(arrays: Mapping[str, Array], rows: Array) -> dict[str, Array]:
    return {name: array[rows] for name, array in arrays.items()}


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

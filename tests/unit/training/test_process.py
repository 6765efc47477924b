"""Recipes run in processes of their own: nothing of them is left in the caller, and none outlives it."""

import logging
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest

from tasks.data.examples import Loaded
from tasks.errors import DeadlineExceeded, InvalidData, InvalidModel
from tasks.training import process
from tasks.training.process import Request, Work
from tasks.training.scoring import measured, score_of

Write = Callable[[str, str], str]

# A recipe that needs no Keras: loading and scoring take a moment.
RECIPE = """
import logging, os, random, signal, sys, time
import numpy as np
from tasks.training.recipe import lower

GATE = {"far": lower(by=0.5)}

def make(data): raise AssertionError("nothing is trained")

def load(source):
    random.seed(1)
    logging.getLogger("tasks.shop").info("reading %s", source)
    print("printed by the recipe", flush=True)
    match source:
        case "raises": raise KeyError("price")
        case "dies": os.kill(os.getpid(), signal.SIGKILL)
        case "exits": os._exit(3)
        case "hangs": time.sleep(600)
    return {"a": np.arange(5.0), "word": np.array(list("vwxyz"))}, np.arange(5), np.ones(5)

def score(labels, answers):
    if len(labels) < 2:
        raise ValueError("too few rows")
    return {"far": float(np.abs(labels - answers).max()), "rows": len(labels)}
"""
WITHOUT_SCORE = "def make(data): pass\n"


@pytest.fixture
def shop(user_module: Write) -> str:
    return user_module("shop_recipe", RECIPE)


def run(work: Work, spec: str, source: str, exchange: Path, deadline: float = 60) -> None:
    process.run(work, Request(spec, os.fspath(Path.cwd()), source), exchange, deadline=deadline)


def test_what_a_recipe_loads_comes_back_as_it_was(
    shop: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    state = random.getstate()
    with caplog.at_level(logging.INFO, "tasks.shop"):
        run("load", f"{shop}:load", "prices.csv", tmp_path)
    loaded = process.read_examples(tmp_path / process.ROWS, Loaded)
    assert loaded.features["a"].tolist() == [0, 1, 2, 3, 4]
    assert loaded.features["word"].tolist() == list("vwxyz")
    assert [array.tolist() for array in loaded.labels.values()] == [[0, 1, 2, 3, 4]]
    assert loaded.weights is not None
    assert "reading prices.csv" in caplog.messages
    assert "printed by the recipe" in capfd.readouterr().out
    assert random.getstate() == state
    assert shop not in sys.modules


def test_every_part_of_loaded_data_crosses(tmp_path: Path) -> None:
    loaded = Loaded(
        {"text": np.array(["a", "bé", ""], object)},
        {"y": np.array([1, 2, 3])},
        np.array([0.5, 1, 2]),
        split=np.array(["train", "test", "train"]),
    )
    process.write_examples(loaded, tmp_path / "rows")
    found = process.read_examples(tmp_path / "rows", Loaded)
    assert found.features["text"].tolist() == ["a", "bé", ""]
    assert found.split is not None
    assert found.weights is not None
    assert (found.split.tolist(), found.weights.tolist()) == (["train", "test", "train"], [0.5, 1, 2])
    assert found.group is None


@pytest.mark.parametrize(
    ("source", "kind", "message"),
    [
        ("raises", InvalidData, r"'shop_recipe:load' failed: KeyError: 'price'"),
        ("dies", InvalidModel, "was ended by signal 9; if that is 9, memory ran out"),
        ("exits", InvalidModel, "ended with code 3"),
    ],
)
def test_what_ends_a_recipe_is_told(shop: str, tmp_path: Path, source: str, kind: type, message: str) -> None:
    with pytest.raises(kind, match=message):
        run("load", f"{shop}:load", source, tmp_path)


def test_a_recipe_that_takes_too_long_is_ended(shop: str, tmp_path: Path) -> None:
    with pytest.raises(DeadlineExceeded, match="shop_recipe:load took longer than 3 s to load"):
        run("load", f"{shop}:load", "hangs", tmp_path, deadline=3)
    assert not [child for child in psutil.Process().children() if "tasks.training.child" in child.cmdline()]


def test_a_recipe_ends_with_the_process_that_runs_it(shop: str, tmp_path: Path) -> None:
    program = (
        "from pathlib import Path; from tasks.training import process; "
        f"process.run('load', process.Request({shop + ':load'!r}, {os.fspath(Path.cwd())!r}, 'hangs'), "
        f"Path({os.fspath(tmp_path)!r}))"
    )
    environment = {**os.environ, "PYTHONPATH": os.fspath(Path(process.__file__).parents[2])}
    with subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert b"printed" in parent.stdout.readline()
        (child,) = psutil.Process(parent.pid).children()
        parent.kill()
        parent.wait()
        assert child.wait(10) in (None, -9, 9)


def test_a_recipe_scores_models_on_any_rows(shop: str) -> None:
    labels = {"y": np.array([1.0, 2, 3])}
    answers = [{"y": np.array([1.0, 2, 4])}, {"y": np.array([0.0, 2, 3])}]
    sets = [np.arange(3), np.array([0, 1]), np.array([2])]
    found = measured(shop, Path.cwd(), labels, answers, sets)
    assert found.own_score
    assert found.gate is not None
    assert found.gate.keys() == {"far"}
    assert found.figures["far"][:, :2].tolist() == [[1, 0], [1, 1]]
    assert np.isnan(found.figures["far"][:, 2]).all(), "a set that the score fails on has no figure"
    assert score_of(shop, Path.cwd())(labels, answers, sets)["rows"][:, 0].tolist() == [3, 3]


def test_a_recipe_without_a_score_has_no_figures(user_module: Write) -> None:
    spec = user_module("scoreless", WITHOUT_SCORE)
    rows = {"y": np.arange(3)}
    found = measured(spec, Path.cwd(), rows, [rows], [np.arange(3)])
    assert (found.gate, found.own_score, found.figures) == (None, False, {})


def test_a_score_that_fails_on_all_rows_is_named(shop: str) -> None:
    rows = {"y": np.arange(1)}
    with pytest.raises(InvalidModel, match=r"Recipe 'shop_recipe': score failed: ValueError: too few rows"):
        measured(shop, Path.cwd(), rows, [rows], [np.arange(1)])

"""Data larger than memory: with a limit of 0 bytes, all are."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.data.dataset import Dataset, split
from tasks.data.examples import Examples, Loaded
from tasks.data.mapped import PIECE
from tasks.errors import InvalidData
from tasks.settings import Settings
from tasks.store.base import Store
from tasks.training import process
from tasks.training.batches import batched, shuffled
from tasks.training.parameters import TrainingParameters
from tasks.training.process import Request
from tasks.training.recipe import FitData
from tasks.training.run import read_data
from tasks.training.train import train

Write = Callable[[str, str], str]

pytestmark = pytest.mark.xdist_group("keras")

HOUSES = """
import keras
import tensorflow as tf

def make(data):
    area, town = keras.Input((1,), name="area"), keras.Input((1,), name="town", dtype="string")
    lookup = keras.layers.StringLookup(output_mode="one_hot")
    lookup.adapt(data.features["town"])
    hidden = keras.layers.Dense(16, activation="relu")(keras.layers.Concatenate()([area, lookup(town)]))
    outputs = [
        keras.layers.Dense(2, activation="softmax", name="kind")(hidden), keras.layers.Dense(1, name="price")(hidden)
    ]
    model = keras.Model([area, town], outputs)
    losses = {"kind": "sparse_categorical_crossentropy", "price": "mse"}
    model.compile(keras.optimizers.Adam(0.01), losses, jit_compile=False)
    return model
"""

LOADING = """
import pyarrow.parquet
def load(source):
    table = pyarrow.parquet.read_table(source)
    return {"x": table["x"].to_numpy()}, {"y": table["y"].to_numpy()}
"""

REPRODUCE = """
import hashlib, json, sys
from pathlib import Path
from tasks.data import mapped
from tasks.training import process
from tasks.training.process import Request
from tasks.training.train import train

mapped.LARGE = 0
dataset = process.read_dataset(Path(sys.argv[1]), Request("houses", "", split_seed=0, name="houses"))
trained = train("houses", dataset, seed=7, epochs=8, project=Path(sys.argv[2]))
weights = [hashlib.sha256(weight.tobytes()).hexdigest() for weight in trained.loaded.model.get_weights()]
right = (trained.answers["kind"].argmax(1) == (dataset.test.labels["kind"] == "small")).mean()
print(json.dumps([weights, trained.history, float(right)]))
"""


@pytest.fixture(autouse=True)
def _large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.data.mapped.LARGE", 0)


def houses(folder: Path | None) -> Dataset:
    random = np.random.default_rng(0)
    area, town = random.random(3000), random.choice(["north", "south"], 3000)
    kind, price = np.where(area > 0.5, "large", "small"), area * 3 + (town == "south")
    loaded = Loaded({"area": area, "town": town}, {"kind": kind, "price": price}, random.random(3000))
    return split("houses", loaded, 0, folder)


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    (tmp_path / "kept").mkdir()
    return tmp_path / "kept"


def test_the_same_seed_and_data_give_the_same_bits_in_fresh_processes(tmp_path: Path, kept: Path) -> None:
    (tmp_path / "houses.py").write_text(HOUSES)
    (tmp_path / "exchange").mkdir()
    process.write_dataset(houses(kept), tmp_path / "exchange")
    command = [sys.executable, "-c", REPRODUCE, str(tmp_path / "exchange"), str(tmp_path)]
    runs = [
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONHASHSEED": n}
        )
        for n in "12"
    ]
    first, second = (run.communicate(timeout=200) for run in runs)
    assert [run.returncode for run in runs] == [0, 0], first[1][-2000:] + second[1][-2000:]
    assert first[0] == second[0]
    _, history, right = json.loads(first[0])
    assert history[-1]["val_loss"] < history[0]["val_loss"] / 2
    assert right > 0.9


def test_large_data_are_given_to_fit_in_shuffled_batches(user_module: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[FitData] = []

    def fit(model: object, data: FitData, epochs: int, callbacks: object) -> None:
        given.append(data)

    monkeypatch.setattr("tasks.training.recipe.fit", fit)
    dataset = houses(None)
    user_module("houses", HOUSES)
    train("houses", dataset, seed=7, epochs=1)
    (data,) = given
    assert (data.y, data.sample_weight) == (None, None)
    epochs = [[*data.x], [*data.x]]
    for batches, rows in [
        (epochs[0], dataset.train),
        (epochs[1], dataset.train),
        ([*data.validation], dataset.validation),
    ]:
        assert [len(batch[2]) for batch in batches[:-1]] == [64] * (len(rows) // 64)
        areas = np.concatenate([batch[0][0] for batch in batches])
        towns = np.concatenate([batch[0][1] for batch in batches])[:, 0]
        prices = np.concatenate([batch[1]["price"] for batch in batches])
        np.testing.assert_allclose(prices, areas * 3 + (towns[:, None] == b"south"), rtol=1e-5)
        np.testing.assert_allclose(np.sort(areas[:, 0]), np.sort(rows.features["area"]), rtol=1e-6)
    assert not np.array_equal(epochs[0][0][0][0], epochs[1][0][0][0])


def test_weights_are_taken_by_a_model_of_several_outputs(user_module: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.data.mapped.LARGE", 1 << 30)
    user_module("houses", HOUSES)
    assert train("houses", houses(None), seed=7, epochs=1).history[0].keys() >= {"kind_loss", "val_price_loss"}


def test_rows_that_do_not_fit_are_told_as_for_small_data(user_module: Write) -> None:
    dataset = houses(None)
    dataset.validation.labels["kind"][5] = "huge"
    user_module("houses", HOUSES)
    with pytest.raises(InvalidData, match=r"Label 'kind' holds huge, which no example of the training part has"):
        train("houses", dataset, seed=7, epochs=1)


def test_shuffled_rows_are_read_from_few_places_at_a_time() -> None:
    rows = Examples({"x": np.zeros((200_000, 1000), np.uint8)}, {"y": np.zeros(200_000, np.uint8)})
    order = shuffled(rows, np.random.default_rng(0))
    assert np.array_equal(np.sort(order), np.arange(200_000))
    places = [np.unique(order[start : start + 10_000] // (PIECE // 1001)) for start in (0, 50_000, 150_000)]
    assert [len(place) <= 17 for place in places] == [True] * 3
    assert len(np.unique(np.concatenate(places))) > 30, "they are all over the data"
    assert not np.array_equal(order, shuffled(rows, np.random.default_rng(1)))


def test_what_is_mapped_is_handed_over_as_it_is(tmp_path: Path, kept: Path) -> None:
    dataset = houses(kept)
    (tmp_path / "exchange").mkdir()
    process.write_dataset(dataset, tmp_path / "exchange")
    files = {path.stat().st_ino for path in kept.iterdir()}
    handed = [*(tmp_path / "exchange").rglob("*.npy")]
    assert len(handed) == 15
    assert {path.stat().st_ino for path in handed} == files
    found = process.read_dataset(tmp_path / "exchange", Request("houses", ""))
    for part in process.PARTS:
        wanted, got = getattr(dataset, part), getattr(found, part)
        for mine, theirs in [
            (wanted.features, got.features),
            (wanted.labels, got.labels),
            (wanted.others(), got.others()),
        ]:
            assert mine.keys() == theirs.keys()
            for name in mine:
                np.testing.assert_array_equal(mine[name], theirs[name])


def test_rows_whose_file_is_gone_are_handed_over_too(tmp_path: Path, kept: Path) -> None:
    dataset = houses(kept)
    for path in kept.iterdir():
        path.unlink()
    process.write_examples(dataset.test, tmp_path / "rows")
    found = process.read_examples(tmp_path / "rows", Examples)
    np.testing.assert_array_equal(found.features["area"], dataset.test.features["area"])


@pytest.mark.parametrize("recipe", ["houses", "loading"])
def test_files_are_kept_as_long_as_the_snapshot(
    recipe: str, tmp_path: Path, kept: Path, store: Store, user_module: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(kept))
    user_module("houses", HOUSES)
    user_module("loading", LOADING + HOUSES)
    pq.write_table(pa.table({"x": np.arange(300), "y": np.arange(300.0)}), tmp_path / "data.parquet")
    chosen = TrainingParameters(recipe, data=str(tmp_path / "data.parquet"), label="y")
    snapshot = read_data(store, Settings(project=tmp_path), chosen)
    test = snapshot.dataset.test
    assert isinstance(test.features["x"], np.memmap)
    (folder,) = kept.iterdir()
    assert Path(str(test.features["x"].filename)).parent == folder
    del snapshot
    assert list(kept.iterdir()) == []
    assert test.labels["y"].tolist() == test.features["x"].tolist(), "what is still used can be read"


def test_a_list_of_inputs_is_a_tuple_for_tensorflow() -> None:
    rows = Examples({"a": np.arange(3.0)}, {"y": np.arange(3)})
    dataset = batched(rows, lambda some: ([some.features["a"], some.features["a"]], some.labels["y"]), 2)
    assert [len(x) for x, _ in dataset] == [2, 2]
    assert int(dataset.cardinality()) == 2

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tasks.data.dataset import Dataset, split
from tasks.data.examples import Examples, Loaded
from tasks.data.held_out import held_out_examples
from tasks.data.mapped import PIECE
from tasks.data.snapshot import take_snapshot
from tasks.data.sources import read_source
from tasks.settings import Settings
from tasks.store.base import LARGEST, Store

ROWS = 1500
LONGEST = 1000  # numbers in a list: three pieces in all


@pytest.fixture(autouse=True)
def _large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.data.mapped.LARGE", 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "kept").mkdir()
    return tmp_path / "kept"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Parquet of several pieces, whose last row alone says how long lists are, and that a number may be missing."""
    path = tmp_path_factory.mktemp("data") / "large.parquet"
    ends = [*range(0, ROWS * (LONGEST - 1), LONGEST - 1), ROWS * (LONGEST - 1) + 1]
    lists = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), np.random.default_rng(0).random(ends[-1]))
    texts = [f"row {n}" for n in range(ROWS - 1)] + ["long " * 100]
    columns = {"a": lists, "b": [*range(ROWS - 1), None], "c": texts, "y": np.arange(ROWS) / 3}
    pq.write_table(pa.table(columns), path)
    assert path.stat().st_size > 2 * PIECE
    return str(path)


def parts(dataset: Dataset) -> list[Examples]:
    return [dataset.train, dataset.validation, dataset.test]


def test_large_tables_are_kept_in_files_and_are_the_same(source: str, folder: Path, store: Store) -> None:
    mapped = take_snapshot(store, Settings(), source, 0, "y", folder=folder)
    in_memory = take_snapshot(store, Settings(), source, 0, "y")
    assert mapped.ref == in_memory.ref
    for name, array in in_memory.dataset.train.features.items():
        found = mapped.dataset.train.features[name]
        assert isinstance(found, np.memmap) == (name != "c")
        np.testing.assert_array_equal(found, array)
    (last,) = [
        part.rows(np.isnan(part.features["b"])) for part in parts(mapped.dataset) if np.isnan(part.features["b"]).any()
    ]
    assert last.features["c"].tolist() == ["long " * 100]
    assert last.features["a"].shape == (1, LONGEST)
    assert last.features["a"].all()


def test_what_was_only_needed_meanwhile_takes_no_room(source: str, folder: Path) -> None:
    dataset = split("large", read_source(source, label="y", folder=folder), 0, folder)
    left = sum(path.stat().st_size for path in folder.iterdir())
    arrays = [*dataset.train.features.values(), *dataset.train.labels.values()]
    whole = sum(array.nbytes * ROWS // len(array) for array in arrays if array.dtype != object)
    assert left == pytest.approx(whole, rel=0.01)


def test_rows_of_what_is_kept_in_files_are_no_copies(source: str, folder: Path) -> None:
    part = split("large", read_source(source, label="y", folder=folder), 0, folder).train
    assert np.shares_memory(part.rows(slice(10, 20)).features["a"], part.features["a"])


def test_images_are_kept_in_files(tmp_path: Path, folder: Path) -> None:
    for name in ("cats", "dogs"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(15):
            Image.new("RGB", (6, 5), (number, len(name), ord(name[0]))).save(tmp_path / "pets" / name / f"{number}.png")
    mapped, in_memory = (read_source(str(tmp_path / "pets"), folder=kept) for kept in (folder, None))
    assert isinstance(mapped.features["x"], np.memmap)
    assert split("pets", mapped, 0, folder).sha256 == split("pets", in_memory, 0).sha256


def test_a_large_held_out_part_is_sent_and_comes_back(store: Store) -> None:
    x = np.random.default_rng(0).random((1400, 10_000))
    snapshot = take_snapshot(store, Settings(), "large", 0, loaded=Loaded({"x": x}, {"y": np.arange(1400.0)}))
    (kept,) = store.objects("datasets/")
    assert kept.size > LARGEST
    held = held_out_examples(store, snapshot.ref)
    assert held is not None
    assert np.array_equal(held.features["x"], snapshot.dataset.test.features["x"])

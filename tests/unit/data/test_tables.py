from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from tasks.data.examples import Loaded
from tasks.data.sources import load_dataset, read_source
from tasks.errors import InvalidData

ROWS = [(f"house {n}", n, n / 4, n % 3 == 0, 1000 + n) for n in range(100)]
HEAD = "name,rooms,size,sold,price"


def csv(path: Path, *lines: str, head: str = HEAD) -> str:
    (path / "data.csv").write_text("\n".join([head, *lines]) + "\n")
    return str(path / "data.csv")


def parquet(path: Path, **columns: Any) -> str:
    pyarrow.parquet.write_table(pa.table(columns), path / "data.parquet")
    return str(path / "data.parquet")


def lines(**changed: str) -> list[str]:
    """The rows of ROWS as a CSV has them; `row_7="…"` is another row 7."""
    return [changed.get(f"row_{at}", ",".join(str(value) for value in row)) for at, row in enumerate(ROWS)]


def kinds(loaded: Loaded) -> dict[str, str]:
    return {name: array.dtype.kind for name, array in loaded.features.items()}


def test_a_csv_gives_its_columns_as_they_are(tmp_path: Path) -> None:
    loaded = read_source(csv(tmp_path, *lines()), label="price")
    assert kinds(loaded) == {"name": "U", "rooms": "i", "size": "f", "sold": "b"}
    for at, name in enumerate(HEAD.split(",")[:-1]):
        assert loaded.features[name].tolist() == [row[at] for row in ROWS]
    assert loaded.labels["price"].tolist() == [row[-1] for row in ROWS]


def test_parquet_gives_the_same_as_csv(tmp_path: Path) -> None:
    columns = {name: [row[at] for row in ROWS] for at, name in enumerate(HEAD.split(","))}
    from_csv = load_dataset(csv(tmp_path, *lines()), 0, label="price")
    from_parquet = load_dataset(parquet(tmp_path, **columns), 0, label="price")
    assert from_csv.sha256 == from_parquet.sha256


def test_several_columns_can_be_learnt(tmp_path: Path) -> None:
    loaded = read_source(csv(tmp_path, *lines()), label="price, sold")
    assert list(loaded.labels) == ["price", "sold"]
    assert list(loaded.features) == ["name", "rooms", "size"]


def test_missing_numbers_are_nan_and_missing_texts_are_empty(tmp_path: Path) -> None:
    loaded = read_source(csv(tmp_path, *lines(row_7=",,,,1007")), label="price")
    assert kinds(loaded) == {"name": "U", "rooms": "f", "size": "f", "sold": "f"}
    assert [loaded.features[name][7] for name in ("rooms", "size", "sold")] == pytest.approx([np.nan] * 3, nan_ok=True)
    assert loaded.features["name"][7] == ""
    assert loaded.features["sold"][6] == 1.0


def test_a_column_may_become_a_fraction_far_down(tmp_path: Path) -> None:
    many = [f"{n},{n}" for n in range(200_000)]
    loaded = read_source(csv(tmp_path, *many, "0.5,1", head="a,b"), label="b")
    assert loaded.features["a"][-1] == 0.5


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array([[1, 2], None, [3, 4, 5]]), [[1, 2, 0], [0, 0, 0], [3, 4, 5]]),
        (pa.array([[1.5], [], [2.5]], pa.large_list(pa.float32())), [[1.5], [0], [2.5]]),
        (pa.array([["a", "b"], ["c"], []]), [["a", "b"], ["c", ""], ["", ""]]),
        (pa.array([[1, 2], [3, 4], [5, 6]], pa.list_(pa.int8(), 2)), [[1, 2], [3, 4], [5, 6]]),
        (pa.array(["a", None, "a"]).dictionary_encode(), ["a", "", "a"]),
        (pa.array([1, 2, 3], pa.decimal128(5, 2)), [1.0, 2.0, 3.0]),
        (pa.array([0, 1, 2], pa.date32()), ["1970-01-01", "1970-01-02", "1970-01-03"]),
        (pa.array([b"a", b"b", None]), ["a", "b", ""]),
        (pa.array([b"\xff", b"b\0", None]), [b"\xff", b"b\0", b""]),
    ],
    ids=["lists", "floats", "lists of texts", "fixed", "dictionary", "decimal", "dates", "texts as bytes", "bytes"],
)
def test_columns_of_other_types(tmp_path: Path, values: Any, expected: list[Any]) -> None:
    loaded = read_source(parquet(tmp_path, a=values, y=[1, 2, 3]), label="y")
    assert loaded.features["a"].tolist() == expected


def test_long_texts_take_no_more_room_than_they_have(tmp_path: Path) -> None:
    texts = ["short", "long " * 10_000, ""]
    loaded = read_source(parquet(tmp_path, a=texts, y=[1, 2, 3]), label="y")
    assert loaded.features["a"].dtype == object
    assert loaded.features["a"].tolist() == texts


def test_reserved_columns_are_no_features(tmp_path: Path) -> None:
    count = 100
    base = {"a": np.arange(count), "time": np.arange(count), "group": np.arange(count), "y": np.arange(count) / 2}
    loaded = read_source(parquet(tmp_path, **base, sample_weight=np.ones(count), split_group=["g"] * count), label="y")
    assert list(loaded.features) == ["a", "time", "group"]
    assert loaded.others().keys() == {"weights", "group"}
    days = np.arange(count).astype("datetime64[D]")
    loaded = read_source(parquet(tmp_path, **base, split_time=days), label="y")
    assert loaded.time is not None
    assert loaded.time[1] == np.datetime64("1970-01-02")
    loaded = read_source(parquet(tmp_path, **base, split=["train", "test"] * 50), label="y")
    assert loaded.split is not None
    assert loaded.split[:2].tolist() == ["train", "test"]


def test_a_feature_with_a_name_that_may_mean_more_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        read_source(parquet(tmp_path, a=[1, 2], time=[1, 2], y=[1, 2]), label="y")
    assert "'time' is a feature like any other; 'split_time' would be more" in caplog.text


BAD_CSV: dict[str, tuple[list[str], str | None, str]] = {
    "no label given": (lines(), None, "has 'name', 'rooms', 'size', 'sold', 'price': say which .* `--label NAME`"),
    "an unknown label": (lines(), "cost", "has nothing named 'cost' to learn, only 'name', 'rooms'"),
    "nothing but labels": (lines(), HEAD, "expected at least one feature"),
    "ragged rows": (lines(row_7="a,1,2"), "price", r"cannot be read \(.*Row #9: Expected 5 columns, got 3: a,1,2\)"),
    "a text among numbers": (
        lines(row_7="house 7,many,1.75,False,1007"),
        "price",
        r"column 'rooms' has numbers in 99 rows, but 'many' in row 7 \(the first is 0\): correct it or leave it empty",
    ),
    "no label in a row": (lines(row_7="house 7,7,1.75,False,"), "price", "label 'price' is missing .* in 1 row, the"),
    "no rows": ([], "price", "has 0 rows"),
}


@pytest.mark.parametrize(("rows", "label", "message"), BAD_CSV.values(), ids=BAD_CSV)
def test_a_csv_that_cannot_be_used_is_refused(tmp_path: Path, rows: list[str], label: str | None, message: str) -> None:
    with pytest.raises(InvalidData, match=message):
        load_dataset(csv(tmp_path, *rows), 0, label=label)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read .*[Ee]mpty"),
        (b",a,y\n0,1,2\n", r"column 0 has no name: name it, or leave it out \(pandas"),
        (b"a,a,y\n0,1,2\n", "two columns named 'a'"),
        (b"a\xff,y\n1,2\n", r"cannot be read \('utf-8' codec can't decode byte 0xff"),
        (b"a,y\n\xff,2\n", "column 'a' holds text that is not UTF-8"),
    ],
    ids=["empty", "a column without a name", "a name twice", "a name that is not UTF-8", "text that is not UTF-8"],
)
def test_a_csv_that_cannot_be_read_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "bad.csv").write_bytes(content)
    with pytest.raises(InvalidData, match=message):
        read_source(str(tmp_path / "bad.csv"), label="y")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (pa.array([{"b": 1}, {"b": 2}]), "column 'a' holds struct.*expected numbers, texts or lists"),
        (pa.array([[[1]], [[2]]]), "column 'a' holds lists of lists"),
    ],
    ids=["structs", "lists of lists"],
)
def test_columns_that_are_no_arrays_are_refused(tmp_path: Path, values: Any, message: str) -> None:
    with pytest.raises(InvalidData, match=message):
        read_source(parquet(tmp_path, a=values, y=[1, 2]), label="y")


def test_a_cut_off_parquet_is_refused(tmp_path: Path) -> None:
    path = Path(parquet(tmp_path, a=np.arange(1000), y=np.arange(1000)))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InvalidData, match=r"data.parquet cannot be read \(.*\): repair it, or write it again"):
        read_source(str(path), label="y")


def test_all_rows_that_lack_a_label_are_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match=r"label 'y' is missing or infinite in 100 rows, the first is row 0"):
        load_dataset(parquet(tmp_path, a=np.arange(100), y=pa.nulls(100)), 0, label="y")

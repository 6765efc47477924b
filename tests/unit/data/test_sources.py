import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.data.sources import load_dataset, read_source, recorded_source, source_name
from tasks.errors import InvalidData
from tasks.names import is_function
from tests.unit.data.cases import cut_off, images, labels, npz


def test_a_file_of_ones_own_is_loaded_under_its_name(tmp_path: Path) -> None:
    dataset = load_dataset(npz(tmp_path / "my digits.npz", x=images(), y=labels()), split_seed=3)
    assert (dataset.name, dataset.split_seed) == ("my-digits", 3)
    assert dataset.train.features["x"].dtype == np.uint8


def test_the_hash_is_of_the_content_and_not_of_the_file(tmp_path: Path) -> None:
    plain = load_dataset(npz(tmp_path / "plain.npz", x=images(), y=labels()), 0).sha256
    np.savez_compressed(tmp_path / "small.npz", y=labels(), x=images())
    assert load_dataset(str(tmp_path / "small.npz"), 0).sha256 == plain


A, B = np.arange(100.0), np.arange(200).reshape(100, 2)


@pytest.mark.parametrize(
    ("arrays", "label", "features", "found"),
    [
        ({"x": A, "y": labels()}, None, ["x"], ["y"]),
        ({"size": A, "place": B, "y": labels()}, None, ["size", "place"], ["y"]),
        ({"x": A, "y/price": A, "y/kind": labels()}, None, ["x"], ["price", "kind"]),
        ({"a": A, "b": B, "c": labels()}, "c", ["a", "b"], ["c"]),
        ({"a": A, "b": B, "c": labels()}, "c,b", ["a"], ["c", "b"]),
        ({"x": A, "time": A, "y": labels()}, None, ["x", "time"], ["y"]),
    ],
    ids=["x and y", "by name", "several labels", "a label by name", "several by name", "an ordinary name"],
)
def test_arrays_are_features_and_labels_by_their_names(
    tmp_path: Path, arrays: dict[str, Any], label: str | None, features: list[str], found: list[str]
) -> None:
    loaded = read_source(npz(tmp_path / "d.npz", **arrays), label=label)
    assert (list(loaded.features), list(loaded.labels)) == (features, found)
    assert loaded.others() == {}


def test_bytes_are_texts(tmp_path: Path) -> None:
    names = np.array([b"cat", b"dog"] * 50)
    loaded = read_source(npz(tmp_path / "d.npz", x=names, y=names))
    assert loaded.features["x"].tolist() == loaded.labels["y"].tolist() == ["cat", "dog"] * 50


def test_reserved_names_are_no_features(tmp_path: Path) -> None:
    source = npz(tmp_path / "d.npz", x=A, y=labels(), sample_weight=A, split_group=np.arange(100) // 2)
    loaded = read_source(source)
    assert list(loaded.features) == ["x"]
    assert loaded.others().keys() == {"weights", "group"}
    assert len(load_dataset(source, 0).train) > 50
    assert read_source(npz(tmp_path / "t.npz", x=A, y=labels(), split_time=A)).others().keys() == {"time"}
    sides = np.array(["train", "test"] * 50)
    assert read_source(npz(tmp_path / "s.npz", **{"x": A, "y/a": A, "split": sides})).others().keys() == {"split"}


def test_the_split_of_keras_own_files_is_kept(tmp_path: Path) -> None:
    x, y = images(), labels()
    source = npz(tmp_path / "d.npz", x_train=x[:80, ..., 0], y_train=y[:80], x_test=x[80:, ..., 0], y_test=y[80:])
    dataset = load_dataset(source, 0)
    assert dataset.train.features["x"].shape[1:] == (28, 28)
    assert sorted(dataset.test.features["x"].tolist()) == sorted(x[80:, ..., 0].tolist())
    assert len(dataset.train) + len(dataset.validation) == 80


def test_keras_files_whose_halves_do_not_fit_are_refused(tmp_path: Path) -> None:
    x, y = images(), labels()
    source = npz(tmp_path / "d.npz", x_train=x, y_train=y, x_test=x[:, :14], y_test=y)
    with pytest.raises(
        InvalidData, match=r"x_train and y_train have shapes \[100, 28, 28, 1\] .* expected the same but"
    ):
        load_dataset(source, 0)


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[5000] ^= 0xFF
    path.write_bytes(content)


def without_labels(path: Path) -> None:
    np.savez(path, x=images(), labels=labels())


def objects(path: Path) -> None:
    np.savez(path, x=images(), y=labels().astype(object))


def a_text(path: Path) -> None:
    path.write_text("digit,label\n0,0\n")


def a_zip_of_texts(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x", "text")
        archive.writestr("y", "text")


def a_cut_off_array(path: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, images())
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", buffer.getvalue()[:-500])
        archive.writestr("y.npy", b"")


def an_empty_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (cut_off, r"bad.npz \(\d+ bytes\) is not an .npz or was cut off"),
        (flipped, "'x' cannot be read .*CRC.*damaged"),
        (without_labels, "bad.npz has nothing named 'y' to learn, only 'x', 'labels'"),
        (objects, "'y' is made of Python objects, which could run code"),
        (a_text, "is not an .npz or was cut off"),
        (a_zip_of_texts, "'x' is not a NumPy array"),
        (a_cut_off_array, "'x' cannot be read .*cut off or damaged"),
        (an_empty_folder, "bad.npz holds no folders: expected one for each class"),
        (Path.unlink, "No data at .*bad.npz.*: expected mnist-5k, mnist, a .npz, .csv or .parquet file, a folder"),
    ],
)
def test_a_file_that_is_no_data_is_refused(tmp_path: Path, harm: Callable[[Path], None], message: str) -> None:
    source = npz(tmp_path / "bad.npz", x=images(), y=labels())
    harm(Path(source))
    with pytest.raises(InvalidData, match=message):
        load_dataset(source, 0)


def test_files_of_other_kinds_are_refused(tmp_path: Path) -> None:
    (tmp_path / "data.xlsx").write_bytes(b"a table")
    with pytest.raises(
        InvalidData, match=r"Data of this kind cannot be read: '.*data.xlsx': expected mnist-5k, mnist, a"
    ):
        read_source(str(tmp_path / "data.xlsx"))


@pytest.mark.parametrize("source", ["shop.data:prices", "data:prices"])
def test_a_function_is_told_from_a_path(source: str) -> None:
    assert is_function(source)
    assert recorded_source(source) == source


@pytest.mark.parametrize("source", ["data.npz", "s3://bucket/data.csv", "mnist-5k", "a/b:c", "/data/x.npz", "a:b:c"])
def test_other_sources_are_no_functions(source: str) -> None:
    assert not is_function(source)


def test_a_recorded_source_means_the_same_in_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert recorded_source("data.csv") == str(tmp_path / "data.csv")
    assert recorded_source("mnist") == "mnist"
    assert recorded_source("s3://bucket/data.csv") == "s3://bucket/data.csv"


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("mnist-5k", "mnist-5k"),
        ("/data/my prices.2.csv", "my-prices.2"),
        ("s3://bucket/folder/prices.parquet", "prices"),
        ("shop.data:prices", "shop.data-prices"),
        ("pets/", "pets"),
        ("é.csv", "data"),
    ],
)
def test_a_source_has_a_name_that_fits_a_key(source: str, name: str) -> None:
    assert source_name(source) == name

from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.data.dataset import split
from tasks.data.examples import Examples, Loaded
from tasks.data.given import labelled
from tasks.errors import InvalidData

X = np.arange(12.0).reshape(6, 2)
Y = np.array([0, 1, 0, 1, 0, 1])
NAMES = ["a", "bb", "a", "bb", "a", "ccc"]
FRAME = pd.DataFrame({"size": [1.0, None, 3, 4, 5, 6], "place": pd.Series([*NAMES[:5], None])})


def lists(loaded: Loaded) -> tuple[dict[str, Any], dict[str, Any]]:
    return (
        {name: array.tolist() for name, array in loaded.features.items()},
        {name: array.tolist() for name, array in loaded.labels.items()},
    )


@pytest.mark.parametrize(
    ("value", "features", "label"),
    [
        ((X, Y), {"x": X.tolist()}, {"y": Y.tolist()}),
        ([X.tolist(), Y.tolist()], {"x": X.tolist()}, {"y": Y.tolist()}),
        (({"a": X, "b": NAMES}, Y), {"a": X.tolist(), "b": NAMES}, {"y": Y.tolist()}),
        ((X, {"p": Y, "q": NAMES}), {"x": X.tolist()}, {"p": Y.tolist(), "q": NAMES}),
        ((np.array([n.encode() for n in NAMES]), Y), {"x": NAMES}, {"y": Y.tolist()}),
        ((np.array(NAMES, object), Y), {"x": NAMES}, {"y": Y.tolist()}),
        (Examples({"x": X}, {"y": Y}), {"x": X.tolist()}, {"y": Y.tolist()}),
        (Loaded({"x": NAMES}, {"y": Y}), {"x": NAMES}, {"y": Y.tolist()}),  # type: ignore[dict-item]
        ((X, pd.Series(Y, name="price")), {"x": X.tolist()}, {"price": Y.tolist()}),
        ((X, pd.DataFrame({"p": Y})), {"x": X.tolist()}, {"p": Y.tolist()}),
    ],
    ids=["arrays", "lists", "dict", "two labels", "bytes", "objects", "examples", "loaded", "series", "frame"],
)
def test_the_usual_forms_are_taken(value: Any, features: dict[str, Any], label: dict[str, Any]) -> None:
    assert lists(labelled(value, "shop.load")) == (features, label)


def test_a_dataframe_is_its_columns() -> None:
    loaded = labelled((FRAME, Y), "shop.load")
    assert loaded.features["size"].tolist() == pytest.approx([1, np.nan, 3, 4, 5, 6], nan_ok=True)
    assert loaded.features["place"].tolist() == [*NAMES[:5], ""]


def test_missing_values_of_pandas_own_types_are_taken() -> None:
    loaded = labelled((pd.Series([1, None], dtype="Int64"), pd.Series([0, 1], name="y")), "d")
    assert loaded.features["x"].tolist() == pytest.approx([1, np.nan], nan_ok=True)


def test_weights_and_groups_are_taken() -> None:
    assert labelled((X, Y, [1, 2, 3, 4, 5, 6]), "d").others()["weights"].tolist() == [1, 2, 3, 4, 5, 6]
    loaded = labelled(Loaded({"x": X}, {"y": Y}, group=pd.Series(NAMES)), "d")
    assert loaded.others()["group"].tolist() == NAMES


@pytest.mark.parametrize("batch", [None, 4])
def test_a_dataset_of_tensorflow_is_taken_batched_or_not(batch: int | None) -> None:
    import tensorflow as tf

    def given(*parts: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        dataset = tf.data.Dataset.from_tensor_slices(parts)
        return lists(labelled(dataset.batch(batch) if batch else dataset, "shop.load"))

    assert given(X, Y) == ({"x": X.tolist()}, {"y": Y.tolist()})
    assert given({"b": X, "a": NAMES}, {"q": Y}) == ({"a": NAMES, "b": X.tolist()}, {"q": Y.tolist()})
    assert given(tf.sparse.from_dense(X), Y) == ({"x": X.tolist()}, {"y": Y.tolist()})
    dataset = tf.data.Dataset.from_tensor_slices((X, Y, Y * 2))
    assert labelled(dataset.batch(4), "d").others()["weights"].tolist() == (Y * 2).tolist()


def test_rows_of_a_dataset_that_differ_in_length_are_padded() -> None:
    import tensorflow as tf

    def rows() -> Any:
        yield from [([1, 2], 0), ([3], 1), ([4, 5, 6], 0)]

    spec = (tf.TensorSpec([None], tf.int32), tf.TensorSpec([], tf.int32))
    dataset = tf.data.Dataset.from_generator(rows, output_signature=spec)
    padded = [[1, 2, 0], [3, 0, 0], [4, 5, 6]]
    assert lists(labelled(dataset, "d")) == ({"x": padded}, {"y": [0, 1, 0]})
    assert lists(labelled(dataset.padded_batch(2), "d")) == ({"x": padded}, {"y": [0, 1, 0]})
    ragged = tf.data.Dataset.from_tensor_slices((tf.ragged.constant([[1, 2], [3], [4, 5, 6]]), [0, 1, 0])).batch(2)
    assert lists(labelled(ragged, "d")) == ({"x": padded}, {"y": [0, 1, 0]})


@pytest.mark.parametrize("as_objects", [True, False])
def test_lists_that_differ_in_length_are_padded(as_objects: bool) -> None:
    def given(rows: list[list[Any]]) -> Any:
        value = np.empty(len(rows), object)
        value[:] = rows
        return labelled((value if as_objects else rows, [0, 1, 0]), "d").features["x"].tolist()

    assert given([[1, 2], [], [4, 5, 6]]) == [[1, 2, 0], [0, 0, 0], [4, 5, 6]]
    assert given([["a", "b"], ["ccc"], ["d", "e"]]) == [["a", "b"], ["ccc", ""], ["d", "e"]]


def test_a_dataset_is_split_like_its_arrays() -> None:
    import tensorflow as tf

    x, y = np.arange(100.0), np.arange(100) % 2
    batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(7)
    assert split("d", labelled(batches, "d"), 0).sha256 == split("d", labelled((x, y), "d"), 0).sha256


def dataset_of(change: str) -> Any:
    import tensorflow as tf

    dataset = tf.data.Dataset.from_tensor_slices((X, Y))
    changed: dict[str, Any] = {
        "endless": dataset.repeat(),
        "fixed batches": tf.data.Dataset.from_tensor_slices((X, X)),
        "two features without names": tf.data.Dataset.from_tensor_slices(((X, X), Y)),
        "no labels": tf.data.Dataset.from_tensor_slices(X),
    }
    return changed[change]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("endless", "shop.load gave a tf.data.Dataset without an end"),
        ("fixed batches", "may be single rows or batches of 2: give it as .batch"),
        ("two features without names", r"each a tensor or a dict of tensors by name"),
        ("no labels", r"gave a tf.data.Dataset of TensorSpec.*, expected one of \(features, labels"),
    ],
)
def test_datasets_of_tensorflow_that_cannot_be_used_are_refused(change: str, message: str) -> None:
    with pytest.raises(InvalidData, match=message):
        labelled(dataset_of(change), "shop.load")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, r"shop.load gave NoneType, expected \(features, labels\)"),
        (X, "gave numpy.ndarray, expected"),
        ((X,), "gave tuple of 1, expected"),
        (
            ([np.zeros((2, 3)), np.zeros((3, 3))], [0, 1]),
            r"the rows of 'x' have different shapes, such as \[2, 3\] and \[3, 3\]; expected one shape for all: resize",
        ),
        (([[[1], [2, 3]], [[1], [2]]], [0, 1]), "'x' holds lists of lists of different lengths"),
        (([[1, 2], 3], [0, 1]), r"the rows of 'x' have different shapes, such as \[\] and \[2\]"),
        ((np.array([1, "a", 2], object), [0, 1, 0]), r"1 \(int\) in row 0, 'a' \(str\) in row 1; expected only"),
        ((np.array([{}, {}], object), [0, 1]), r"{} \(dict\) in row 0; expected only numbers or only texts"),
        ((np.array([1j]), [0]), "'x' has dtype complex128, expected numbers or texts"),
        ((7, [0]), "'x' is 7, expected an array"),
        ((pd.DataFrame({"a": [1, "b"]}), [0, 1]), r"column of mixed types \(.*column a"),
    ],
    ids=[
        "nothing",
        "one array",
        "too few",
        "images",
        "lists of lists",
        "lists and numbers",
        "mixed",
        "objects",
        "complex",
        "a number",
        "mixed column",
    ],
)
def test_what_is_no_data_is_refused(value: Any, message: str) -> None:
    with pytest.raises(InvalidData, match=message):
        labelled(value, "shop.load")


def test_arrays_of_different_lengths_are_refused() -> None:
    with pytest.raises(InvalidData, match="'x' has 6 rows and 'y' has 5, expected as many of each"):
        split("d", labelled((X, Y[:5]), "d"), 0)

import subprocess
import sys

import numpy as np
import pytest

from tasks.evaluation import plots

DIGITS = np.diag(np.arange(90, 100)) + np.eye(10, k=1, dtype=int) * 3


def size_of(png: bytes) -> tuple[int, int]:
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    return int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")


def draw_classes(counts: np.ndarray, title: str) -> bytes:
    return plots.class_accuracy(np.diag(counts).tolist(), counts.sum(axis=1).tolist(), title)


@pytest.mark.parametrize("draw", [plots.confusion_matrix, draw_classes])
def test_equal_counts_are_equal_pictures_and_others_are_not(draw) -> None:  # type: ignore[no-untyped-def]
    picture = draw(DIGITS, "MLP version 1")
    assert draw(DIGITS.copy(), "MLP version 1") == picture
    other = DIGITS.copy()
    other[3, 5] += 9
    assert draw(other, "MLP version 1") != picture
    assert draw(DIGITS, "MLP version 2") != picture


@pytest.mark.parametrize("draw", [plots.confusion_matrix, draw_classes])
@pytest.mark.parametrize(
    "counts",
    [np.array([[3]]), np.zeros((3, 3), int), np.array([[5, 0], [0, 0]]), np.full((120, 120), 10**6)],
    ids=["one class", "nothing", "an empty class", "many classes"],
)
def test_any_number_of_classes_and_examples_can_be_drawn(draw, counts: np.ndarray) -> None:  # type: ignore[no-untyped-def]
    width, height = size_of(draw(counts, "MLP version 1"))
    assert 300 < width < 2500
    assert 100 < height < 2500


def test_named_classes_stand_in_the_picture() -> None:
    counts = np.array([[5, 1], [0, 4]])
    assert plots.confusion_matrix(counts, "t", ("cat", "dog")) != plots.confusion_matrix(counts, "t")


def test_any_name_of_a_class_can_be_drawn_and_a_long_one_leaves_room_for_the_picture() -> None:
    names = ("$100-$200", "x" * 500, "größe_{^}", "\\frac")
    width, height = size_of(plots.confusion_matrix(np.eye(4, dtype=int), "t", names))
    assert (width, height) == size_of(plots.confusion_matrix(np.eye(4, dtype=int), "t"))
    assert size_of(plots.class_accuracy([1] * 4, [1] * 4, "t", names))[0] < 2500


def test_drawing_touches_no_window_system_and_no_state_that_others_share() -> None:
    code = (
        "import sys, numpy as np; from tasks.evaluation import plots; assert 'matplotlib' not in sys.modules;"
        "plots.confusion_matrix(np.eye(3, dtype=int), 't'); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)

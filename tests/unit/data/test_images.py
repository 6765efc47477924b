from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.data.sources import load_dataset, read_source
from tasks.errors import InvalidData

ENDINGS = ("png", "jpg", "bmp")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """15 pictures of 6 x 5 pixels of each of two classes."""
    random = np.random.default_rng(0)
    for name in ("cats", "dogs"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(15):
            pixels = random.integers(256, size=(5, 6, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pets" / name / f"{number:02}.{ENDINGS[number % 3]}")
    return tmp_path / "pets"


def test_a_folder_of_class_folders_is_images_and_names(folder: Path) -> None:
    loaded = read_source(str(folder))
    x = loaded.features["x"]
    assert (x.shape, x.dtype) == ((30, 5, 6, 3), np.uint8)
    assert loaded.labels["y"].tolist() == ["cats"] * 15 + ["dogs"] * 15
    assert np.array_equal(x[15], np.asarray(Image.open(folder / "dogs" / "00.png")))
    assert load_dataset(str(folder), 0).name == "pets"


def test_grey_and_transparent_images_have_three_channels_too(folder: Path) -> None:
    Image.new("L", (6, 5), 7).save(folder / "cats" / "00.png")
    Image.new("RGBA", (6, 5), (1, 2, 3, 4)).save(folder / "cats" / "03.png")
    x = read_source(str(folder)).features["x"]
    assert (x[0] == 7).all()
    assert (x[3] == [1, 2, 3]).all()


def test_other_files_are_named(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "cats" / "notes.txt").write_text("mine")
    (folder / "cats" / ".hidden").write_text("")
    assert len(read_source(str(folder))) == 30
    assert "files that are no images are not used: 1, the first is" in caplog.text
    assert "notes.txt" in caplog.text


def another_size(folder: Path) -> None:
    Image.new("RGB", (9, 5)).save(folder / "dogs" / "03.png")


def cut_off(folder: Path) -> None:
    path = folder / "dogs" / "03.png"
    path.write_bytes(path.read_bytes()[:60])


def a_text(folder: Path) -> None:
    (folder / "dogs" / "03.png").write_text("no image")


def an_empty_class(folder: Path) -> None:
    (folder / "birds").mkdir()


def no_classes(folder: Path) -> None:
    for path in folder.rglob("*.*"):
        path.unlink()
    for path in folder.iterdir():
        path.rmdir()


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (another_size, r"dogs/03.png has 9 x 5 pixels, but .*cats/00.png has 6 x 5: expected one size"),
        (cut_off, r"dogs/03.png cannot be read as an image"),
        (a_text, r"dogs/03.png cannot be read as an image"),
        (an_empty_class, r"birds holds no image .*expected those of class 'birds'"),
        (no_classes, "pets holds no folders: expected one for each class"),
    ],
)
def test_folders_that_cannot_be_used_are_refused(folder: Path, harm: Callable[[Path], None], message: str) -> None:
    harm(folder)
    with pytest.raises(InvalidData, match=message):
        read_source(str(folder))

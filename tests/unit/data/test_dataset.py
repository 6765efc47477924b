import hashlib
import io
import zipfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

import numpy as np
import pytest

from tasks.data import sources
from tasks.data.dataset import Dataset, split
from tasks.data.download import download_once
from tasks.data.held_out import held_out_examples, load_held_out, save_held_out
from tasks.data.snapshot import take_snapshot
from tasks.data.sources import load_dataset
from tasks.errors import Corrupt, InvalidData
from tasks.settings import Settings
from tasks.store.base import Store
from tasks.wire.dtypes import Array


def images(count: int = 100, dtype: str = "uint8") -> Array:
    pixels = np.random.default_rng(0).integers(256, size=(count, 28, 28, 1))
    return pixels.astype(dtype) if dtype == "uint8" else (pixels / 255).astype(dtype)


def labels(count: int = 100) -> Array:
    return np.arange(count) % 10


def npz(path: Path, **arrays: Any) -> str:
    np.savez(path, **arrays)
    return str(path)


def harmed(value: float) -> Array:
    x = images(dtype="float32")
    x[3, 4, 5, 0] = x[50, 0, 0, 0] = value
    return x


def test_the_default_digits_are_real_scaled_and_split_in_proportion(digits: Dataset) -> None:
    assert [len(y) for y in (digits.y_train, digits.y_validation, digits.y_test)] == [3500, 500, 1000]
    for x, y in (
        (digits.x_train, digits.y_train),
        (digits.x_validation, digits.y_validation),
        (digits.x_test, digits.y_test),
    ):
        assert x.shape == (len(y), 28, 28, 1)
        assert (x.dtype, y.dtype) == (np.float32, np.int64)
        assert (x.min(), x.max()) == (0, 1)
        assert np.bincount(y).tolist() == [len(y) // 10] * 10


def test_no_example_is_in_two_parts() -> None:
    x = images()
    x[:, 0, 0, 0] = np.arange(100)
    parts = split("numbered", x, labels(), split_seed=0)
    numbers = [set(np.rint(p[:, 0, 0, 0] * 255)) for p in (parts.x_train, parts.x_validation, parts.x_test)]
    assert [len(n) for n in numbers] == [70, 10, 20]
    assert set.union(*numbers) == set(range(100))


def test_the_same_seed_splits_alike_and_another_does_not() -> None:
    first, again, other = (split("d", images(), labels(), split_seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first.x_test, again.x_test)
    assert not np.array_equal(first.x_test, other.x_test)
    assert first.sha256 == again.sha256 == other.sha256


def test_a_file_of_ones_own_is_loaded_under_its_name(tmp_path: Path) -> None:
    dataset = load_dataset(npz(tmp_path / "my digits.npz", x=images(), y=labels()), split_seed=3)
    assert (dataset.name, dataset.split_seed) == ("my-digits", 3)
    assert dataset.x_train.max() <= 1


def test_bytes_are_divided_by_255_and_floats_are_taken_as_they_are(tmp_path: Path) -> None:
    of_bytes, of_floats = (
        load_dataset(npz(tmp_path / f"{dtype}.npz", x=images(dtype=dtype), y=labels()), 0)
        for dtype in ("uint8", "float64")
    )
    assert np.array_equal(of_bytes.x_train, of_floats.x_train)


def test_the_hash_is_of_the_content_and_not_of_the_file(tmp_path: Path) -> None:
    plain = load_dataset(npz(tmp_path / "plain.npz", x=images(), y=labels()), 0).sha256
    np.savez_compressed(tmp_path / "small.npz", y=labels(), x=images())
    assert load_dataset(str(tmp_path / "small.npz"), 0).sha256 == plain
    changed = images()
    changed[99, 27, 27, 0] ^= 1
    for name, x, y in (
        ("x", changed, labels()),
        ("y", images(), labels()[::-1]),
        ("type", images(), np.int32(labels())),
    ):
        assert load_dataset(npz(tmp_path / f"{name}.npz", x=x, y=y), 0).sha256 != plain, name


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "a wrong shape": ({"x": images()[:, :27]}, r"x has shape \[100, 27, 28, 1\], expected \[N, 28, 28, 1\]"),
    "no channel": ({"x": images()[..., 0]}, r"x has shape \[100, 28, 28\].*reshape"),
    "no example": ({"x": images()[:0], "y": labels()[:0]}, r"x has shape \[0, 28, 28, 1\].*at least 1"),
    "whole numbers": ({"x": images().astype("int32")}, "x has dtype int32, expected uint8 in 0..255 or floats"),
    "texts": ({"x": np.full((100, 28, 28, 1), "a")}, "x has dtype <U1, expected uint8"),
    "NaN": ({"x": harmed(np.nan)}, r"2 values that are NaN or infinite, the first \(nan\) at \[3, 4, 5, 0\]"),
    "Infinity": ({"x": harmed(-np.inf)}, r"2 values .* the first \(-inf\) at \[3, 4, 5, 0\]"),
    "floats to 255": (
        {"x": images().astype("float32")},
        "values from 0 to 255, expected floats in 0..1: divide by 255",
    ),
    "negative": ({"x": harmed(-0.5)}, "values from -0.5 to 1, expected"),
    "labels of two axes": ({"y": np.eye(10)[labels()]}, r"y has shape \[100, 10\], expected \[N\]"),
    "too few labels": ({"y": labels(99)}, "y has 99 labels for 100 examples"),
    "broken labels": ({"y": labels() + 0.5}, "y has dtype float64, expected whole numbers in 0..9"),
    "label 10": ({"y": labels() + 1}, r"10 labels out of range, the first \(10\) at \[9\]; expected 0..9"),
    "label -1": ({"y": labels() - 1}, r"the first \(-1\) at \[0\]; expected 0..9"),
    "a rare class": ({"y": np.where(np.arange(100) == 7, 8, labels())}, "class 7 has 9 examples, expected at least 10"),
    "one class": ({"y": labels() * 0}, "y holds only class 0, expected at least two"),
    "objects": ({"y": labels().astype(object)}, "'y' is made of Python objects, which could run code"),
}


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD)
def test_data_that_cannot_be_trained_on_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    source = npz(tmp_path / "bad.npz", **{"x": images(), "y": labels(), **change})
    with pytest.raises(InvalidData, match=message):
        load_dataset(source, 0)


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[5000] ^= 0xFF
    path.write_bytes(content)


def without_labels(path: Path) -> None:
    np.savez(path, x=images(), labels=labels())


def a_table(path: Path) -> None:
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


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (cut_off, r"bad.npz \(\d+ bytes\) is not an .npz or was cut off"),
        (flipped, "'x' cannot be read .*CRC.*damaged"),
        (without_labels, "has no array 'y', only 'x', 'labels': expected x and y"),
        (a_table, "is not an .npz or was cut off"),
        (a_zip_of_texts, "'x' is not a NumPy array"),
        (a_cut_off_array, "'x' cannot be read .*cut off or damaged"),
        (a_folder, "bad.npz is not a file"),
        (Path.unlink, "No data at .*bad.npz.*: give mnist-5k, mnist, or the path of an existing .npz"),
    ],
)
def test_a_file_that_is_no_data_is_refused(tmp_path: Path, harm: Callable[[Path], None], message: str) -> None:
    source = npz(tmp_path / "bad.npz", x=images(), y=labels())
    harm(Path(source))
    with pytest.raises(InvalidData, match=message):
        load_dataset(source, 0)


def test_the_held_out_part_comes_back(tmp_path: Path) -> None:
    dataset = split("d", images(), labels(), split_seed=5)
    save_held_out(dataset, tmp_path / "new" / "held-out.npz")
    held = load_held_out(tmp_path / "new" / "held-out.npz")
    assert np.array_equal(held.x, dataset.x_test)
    assert np.array_equal(held.y, dataset.y_test)
    assert (held.x.dtype, held.y.dtype) == (np.float32, np.int64)


def test_the_held_out_part_is_the_same_file_each_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_held_out(split("d", images(), labels(), split_seed=5), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_changed_held_out_part_is_told(tmp_path: Path) -> None:
    path = tmp_path / "held-out.npz"
    save_held_out(split("d", images(), labels(), split_seed=5), path)
    with np.load(path) as archive:
        arrays = {**archive, "y": archive["y"][::-1]}
    np.savez(path, **arrays)
    with pytest.raises(Corrupt, match="does not hold the examples that were written"):
        load_held_out(path)
    cut_off(path)
    with pytest.raises(Corrupt, match=r"holds no held-out examples: .* cut off"):
        load_held_out(path)


def test_a_held_out_part_that_was_put_in_the_place_of_a_versions_own_is_told(store: Store) -> None:
    kept = take_snapshot(store, Settings(), "mnist-5k", 5).ref
    assert held_out_examples(store, kept) is not None
    with TemporaryDirectory() as folder:  # a whole file, with a hash of its own that is right
        save_held_out(split(kept.name, images(), labels(), split_seed=5), Path(folder) / "other")
        store.put(kept.held_out, (Path(folder) / "other").read_bytes())
    with pytest.raises(Corrupt, match="does not hold the examples that were written"):
        held_out_examples(store, kept)
    of_earlier_release = replace(kept, held_out_sha256=None)
    assert held_out_examples(store, of_earlier_release) is not None


class Answers(BaseHTTPRequestHandler):
    """Answers every request alike."""

    def __init__(self, code: int, body: bytes, *args: Any) -> None:
        self.code, self.body = code, body
        super().__init__(*args)

    def do_GET(self) -> None:
        self.send_response(self.code)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def web(request: pytest.FixtureRequest) -> Any:
    code, body = request.param
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Answers, code, body)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/mnist.npz"
        server.shutdown()


def whole_mnist() -> bytes:
    buffer = io.BytesIO()
    x, y = images()[..., 0], labels().astype(np.uint8)
    np.savez(buffer, x_train=x[:80], y_train=y[:80], x_test=x[80:], y_test=y[80:])
    return buffer.getvalue()


@pytest.fixture
def mnist_at(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Says where the whole of MNIST lies, and that nothing was downloaded before."""
    monkeypatch.chdir(tmp_path)

    def at(url: str) -> None:
        monkeypatch.setattr(sources, "MNIST_URL", url)
        monkeypatch.setattr(sources, "MNIST_SHA256", hashlib.sha256(whole_mnist()).hexdigest())

    return at


@pytest.mark.parametrize("web", [(200, whole_mnist())], indirect=True)
def test_the_whole_of_mnist_is_downloaded_once(web: str, mnist_at: Callable[[str], None]) -> None:
    mnist_at(web)
    first = load_dataset("mnist", 0, Path("downloads"))
    mnist_at("http://127.0.0.1:1/nothing-listens-here")
    again = load_dataset("mnist", 0, Path("downloads"))
    assert len(first.y_train) == 70
    assert again.sha256 == first.sha256


def test_without_a_network_the_whole_of_mnist_says_what_to_do(mnist_at: Callable[[str], None]) -> None:
    mnist_at("http://127.0.0.1:1/mnist.npz")
    with pytest.raises(InvalidData, match=r"could not be downloaded: no connection .* use mnist-5k, or give the path"):
        load_dataset("mnist", 0, Path("downloads"))


@pytest.mark.parametrize(
    ("web", "message"),
    [((404, b"no"), "the server answered 404"), ((200, b"other"), "has changed: sha256 .*, expected")],
    indirect=["web"],
)
def test_other_answers_are_not_taken_for_mnist(web: str, message: str, mnist_at: Callable[[str], None]) -> None:
    mnist_at(web)
    with pytest.raises(InvalidData, match=message):
        load_dataset("mnist", 0, Path("downloads"))


@pytest.mark.parametrize("web", [(200, b"body")], indirect=True)
def test_a_download_that_takes_too_long_is_given_up(web: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match="could not be downloaded within -1 s"):
        download_once(web, hashlib.sha256(b"body").hexdigest(), tmp_path / "file", deadline=-1)
    assert not list(tmp_path.iterdir())

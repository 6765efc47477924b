from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest

from tasks.data.dataset import Dataset, split
from tasks.data.examples import Loaded
from tasks.data.hashing import content_sha256
from tasks.data.held_out import held_out_examples, load_held_out, save_held_out
from tasks.data.snapshot import take_snapshot
from tasks.errors import Corrupt
from tasks.settings import Settings
from tasks.store.base import Store
from tests.unit.data.cases import cut_off, images, labels, numbers


def wide(*values: Any) -> Any:
    found = np.empty(len(values), object)
    found[:] = values
    return found


def dataset(**changed: Any) -> Dataset:
    return split("d", replace(Loaded({"x": images()}, {"y": labels()}), **changed), split_seed=5)


HELD: dict[str, dict[str, Any]] = {
    "images": {},
    "texts": {"features": {"a": np.array([f"é {n}" for n in range(100)]), "b": np.arange(100)}},
    "long texts": {"features": {"a": wide(*(f"é {n}" * n * 10 for n in range(100)))}},
    "bytes": {"features": {"a": wide(*(b"\xff" + bytes([n, 0]) for n in range(100)))}},
    "lists of texts": {"features": {"a": wide(*(f"é {n}" for n in range(200))).reshape(100, 2)}},
    "several labels": {"labels": {"a/b": np.arange(100) / 3, "c": np.array(["é", "b"] * 50)}},
    "names with a sign": {"features": {"a#1": np.arange(100), "a#text": np.arange(100)}},
    "weights": {"weights": np.arange(100) / 3},
}


@pytest.mark.parametrize("changed", HELD.values(), ids=HELD)
def test_the_held_out_part_comes_back(tmp_path: Path, changed: dict[str, Any]) -> None:
    given = dataset(**changed)
    sha256 = save_held_out(given, tmp_path / "new" / "held-out.npz")
    held = load_held_out(tmp_path / "new" / "held-out.npz", sha256)
    for before, after in ((given.test.features, held.features), (given.test.labels, held.labels)):
        assert {n: (a.dtype, a.tolist()) for n, a in after.items()} == {
            n: (a.dtype, a.tolist()) for n, a in before.items()
        }
    assert np.array_equal(held.weights, given.test.weights)  # type: ignore[arg-type] # or None each


@pytest.mark.parametrize("changed", HELD.values(), ids=HELD)
def test_the_held_out_part_is_the_same_file_each_time(tmp_path: Path, changed: dict[str, Any]) -> None:
    hashes = {save_held_out(dataset(**changed), tmp_path / name) for name in ("a", "b")}
    assert len(hashes) == 1
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_changed_held_out_part_is_told(tmp_path: Path) -> None:
    path = tmp_path / "held-out.npz"
    save_held_out(dataset(), path)
    with np.load(path) as archive:
        arrays = {**archive, "labels/y": archive["labels/y"][::-1]}
    np.savez(path, **arrays)
    with pytest.raises(Corrupt, match="does not hold the examples that were written"):
        load_held_out(path)
    np.savez(path, x=images())
    with pytest.raises(Corrupt, match="holds no held-out examples, only x: fetch it again"):
        load_held_out(path)
    cut_off(path)
    with pytest.raises(Corrupt, match=r"holds no held-out examples: .* cut off"):
        load_held_out(path)


def test_the_held_out_part_of_an_earlier_release_is_read(tmp_path: Path) -> None:
    x, y = images(dtype="float32"), labels()
    about = np.frombuffer(b"mnist-5k\nabc\n0", np.uint8)
    sha256 = content_sha256({"x": x, "y": y, "about": about})
    np.savez_compressed(
        tmp_path / "old.npz", x=x, y=y, about=about, held_sha256=np.frombuffer(sha256.encode(), np.uint8)
    )
    for expected in (sha256, None):
        held = load_held_out(tmp_path / "old.npz", expected)
        assert np.array_equal(held.features["x"], x)
        assert np.array_equal(held.labels["y"], y)
    with pytest.raises(Corrupt):
        load_held_out(tmp_path / "old.npz", "0" * 64)


def test_a_held_out_part_that_was_put_in_the_place_of_a_versions_own_is_told(store: Store) -> None:
    kept = take_snapshot(store, Settings(), "mnist-5k", 5).ref
    assert held_out_examples(store, kept) is not None
    with TemporaryDirectory() as folder:  # a whole file, with a hash of its own that is right
        save_held_out(dataset(), Path(folder) / "other")
        store.put(kept.held_out, (Path(folder) / "other").read_bytes())
    with pytest.raises(Corrupt, match="does not hold the examples that were written"):
        held_out_examples(store, kept)
    of_earlier_release = replace(kept, held_out_sha256=None)
    assert held_out_examples(store, of_earlier_release) is not None


def test_a_version_that_was_made_elsewhere_has_no_held_out_part(store: Store) -> None:
    assert held_out_examples(store, None) is None


def test_a_snapshot_of_what_was_read_already_does_not_read_the_source(store: Store) -> None:
    snapshot = take_snapshot(store, Settings(), "shop.data:prices", 0, loaded=numbers(100))
    assert (snapshot.ref.name, snapshot.ref.sha256) == ("shop.data-prices", snapshot.dataset.sha256)
    held = held_out_examples(store, snapshot.ref)
    assert held is not None
    assert np.array_equal(held.features["x"], snapshot.dataset.test.features["x"])


def test_the_same_snapshot_again_changes_nothing(store: Store) -> None:
    first, again = (take_snapshot(store, Settings(), "d.npz", 0, loaded=numbers(100)).ref for _ in range(2))
    assert first == again
    assert len(store.keys("datasets/")) == 1

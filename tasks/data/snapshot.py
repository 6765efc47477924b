"""A snapshot of the data that a model is trained on: checked, hashed, its held-out part kept in the store."""

import tempfile
from pathlib import Path

from tasks.data.dataset import Dataset
from tasks.data.held_out import save_held_out
from tasks.data.sources import load_dataset
from tasks.errors import InvalidData
from tasks.records import DatasetRef
from tasks.settings import Settings
from tasks.store import keys
from tasks.store.base import Store


def take_snapshot(store: Store, settings: Settings, source: str, split_seed: int) -> DatasetRef:
    """Check the data that `source` names and keep its held-out part under the hash of the whole. Idempotent.

    Raises:
        InvalidData: says which value is wrong, what was expected and what to do.
    """
    dataset = load_dataset(source, split_seed, settings.downloads)
    key = keys.held_out_key(dataset.name, dataset.sha256, split_seed)
    with tempfile.TemporaryDirectory(prefix="slipway-data-") as folder:
        path = Path(folder) / "held-out.npz"
        save_held_out(dataset, path)
        store.create(key, path.read_bytes())
    return DatasetRef(dataset.name, dataset.sha256, split_seed, key)


def load_snapshot(source: str, snapshot: DatasetRef, downloads: Path) -> Dataset:
    """The data from which the snapshot was taken; `downloads`: as `load_dataset` takes it.

    Raises:
        InvalidData: the data has changed since.
    """
    dataset = load_dataset(source, snapshot.split_seed, downloads)
    if dataset.sha256 != snapshot.sha256:
        raise InvalidData(
            f"The data {source} has changed since its snapshot was taken (sha256 {dataset.sha256[:12]}… instead of "
            f"{snapshot.sha256[:12]}…): run again, and do not change it meanwhile."
        )
    return dataset

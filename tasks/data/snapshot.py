"""A snapshot of the data that a model is trained on: checked, hashed, its held-out part kept in the store."""

from dataclasses import dataclass

from tasks.data.dataset import Dataset
from tasks.data.held_out import save_held_out
from tasks.data.sources import load_dataset
from tasks.processes import temporary_folder
from tasks.records import DatasetRef
from tasks.settings import Settings
from tasks.store import keys
from tasks.store.base import Store


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Data as they were read, once, and what records say of them."""

    dataset: Dataset
    ref: DatasetRef


def take_snapshot(store: Store, settings: Settings, source: str, split_seed: int) -> Snapshot:
    """Check the data that `source` names and keep its held-out part under the hash of the whole. Idempotent.

    Raises:
        InvalidData: says which value is wrong, what was expected and what to do.
    """
    dataset = load_dataset(source, split_seed, settings.downloads)
    key = keys.held_out_key(dataset.name, dataset.sha256, split_seed)
    with temporary_folder("data") as folder:
        path = folder / "held-out.npz"
        held_sha256 = save_held_out(dataset, path)
        store.create(key, path.read_bytes())
    return Snapshot(dataset, DatasetRef(dataset.name, dataset.sha256, split_seed, key, held_sha256))

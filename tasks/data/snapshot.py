"""A snapshot of the data that a model is trained on: checked, hashed, its held-out part kept in the store."""

from dataclasses import dataclass
from pathlib import Path

from tasks.data.dataset import Dataset, split
from tasks.data.examples import Loaded
from tasks.data.held_out import save_held_out
from tasks.data.remote import local_copy
from tasks.data.sources import read_source, source_name
from tasks.processes import LastingFolder, temporary_folder
from tasks.records import DatasetRef
from tasks.settings import Settings
from tasks.store import keys
from tasks.store.base import LARGEST, Store


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Data as they were read, once, and what records say of them."""

    dataset: Dataset
    ref: DatasetRef
    folder: LastingFolder | None = None  # where large data are mapped from: it goes with the snapshot


def take_snapshot(
    store: Store,
    settings: Settings,
    source: str,
    split_seed: int,
    label: str | None = None,
    loaded: Loaded | None = None,
    folder: Path | None = None,
) -> Snapshot:
    """Check the data that `source` names and keep its held-out part under the hash of the whole. Idempotent.

    Args:
        label: what is to be learnt, as `read_source` takes it.
        loaded: what `source` was read as already, by a recipe's own function; it is not read again.
        folder: for files that the arrays of large data are kept in rather than in memory, as long as the snapshot is
            used; None: they are in memory.

    Raises:
        InvalidData: says which value is wrong, what was expected and what to do.
    """
    if loaded is None:
        with local_copy(source, settings) as local:
            loaded = read_source(local, settings.downloads, label, folder)
    return keep_held_out(store, split(source_name(source), loaded, split_seed, folder))


def keep_held_out(store: Store, dataset: Dataset) -> Snapshot:
    """Keep the held-out part of a dataset in the store. Idempotent."""
    key = keys.held_out_key(dataset.name, dataset.sha256, dataset.split_seed)
    with temporary_folder("data") as folder:
        path = folder / "held-out.npz"
        held_sha256 = save_held_out(dataset, path)
        if path.stat().st_size <= LARGEST:
            store.create(key, path.read_bytes())
        else:  # in parts; over what may be there, which is the same
            store.upload_all({key: path})
    return Snapshot(dataset, DatasetRef(dataset.name, dataset.sha256, dataset.split_seed, key, held_sha256))

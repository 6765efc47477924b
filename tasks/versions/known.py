"""What a model's versions were made from and hold, so that the same is not made, or published, again."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from tasks.errors import AlreadyPublished
from tasks.records import Build, Manifest, Record, Training
from tasks.savedmodel.content import content_id, describe_files
from tasks.store import keys
from tasks.store.base import Store
from tasks.versions import catalog


@dataclass(frozen=True)
class KnownVersion(Record):
    """The version of a model that has some content, or was made from something."""

    version: int


@dataclass(frozen=True)
class NothingNew(Record):
    """The version that makes it needless to train, or to publish."""

    model: str
    version: int
    sentence: str  # why, and what to do

    def summary(self) -> str:
        """What was done, for a terminal: nothing, and why."""
        return self.sentence


def training_identity(training: Training) -> str:
    """Identity of all that decides what a training ends with: 64 hex digits.

    The data, the code (with the versions of TensorFlow and Keras), the recipe, its settings, the seeds and the epochs.
    Where the data lie, and what the training came to, are no part of it.
    """
    whole = asdict(training)
    made_from = ("recipe", "factory", "settings", "methods", "label", "seed", "epochs", "code_version")
    dataset = training.dataset
    data = [dataset.sha256, dataset.split_seed] if dataset is not None else None
    text = json.dumps([*(whole[name] for name in made_from), data], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def find_same_training(store: Store, model: str, training: Training) -> NothingNew | None:
    """The version of `model` that was made from just the same, if there is one."""
    version = _published(store, model, keys.made_key(model, training_identity(training)))
    return _nothing_new(model, version, "was made from the same data, code and seed")


def find_same_content(store: Store, build: Build) -> NothingNew | None:
    """The version of its model that has the same content as the build, if there is one.

    What the build was made from is kept as what that version may be made from, too: the next time it is not made.
    """
    content = content_id(describe_files(Path(build.directory)))
    version = _published(store, build.model, keys.content_key(build.model, content))
    if version is not None and build.training.code_version is not None:
        made, same = keys.made_key(build.model, training_identity(build.training)), KnownVersion(version).to_json()
        if not store.create(made, same) and _published(store, build.model, made) is None:
            store.put(made, same)
    return _nothing_new(build.model, version, "has the same content")


def _nothing_new(model: str, version: int | None, why: str) -> NothingNew | None:
    if version is None:
        return None
    advice = f"`slipway rollout {model} {version}` serves it; `--again` makes the next version all the same"
    return NothingNew(model, version, f"Nothing new: version {version} {why}. {advice}.")


def note_version(store: Store, manifest: Manifest, again: bool) -> None:
    """Keep what a version, about to be published, was made from and holds. Idempotent.

    It counts once the version is published. Of two publishers of the same content, one ends up with a version: the
    later closes the number of the earlier, which then is alive but late, or dead.

    Args:
        again: the same content may be published once more.

    Raises:
        AlreadyPublished: another was published meanwhile.
    """
    model, training = manifest.model, manifest.training
    _take(store, keys.content_key(model, manifest.content_id), manifest)
    if training.code_version is not None:
        _take(store, keys.made_key(model, training_identity(training)), manifest)
    other = None if again else _published(store, model, keys.content_key(model, manifest.content_id))
    if other is not None:
        raise AlreadyPublished(f"Version {other} of {model} has the same content: it was not published once more.")


def _take(store: Store, key: str, manifest: Manifest) -> None:
    mine = KnownVersion(manifest.version)
    if store.create(key, mine.to_json()):
        return
    other = store.readable(key, KnownVersion)
    if other is not None and other != mine:
        catalog.close(store, manifest.model, other.version)
    if other != mine and _published(store, manifest.model, key) is None:
        store.put(key, mine.to_json())


def _published(store: Store, model: str, key: str) -> int | None:
    """The version that is kept under `key`, if it was published and still is."""
    found = store.readable(key, KnownVersion)
    if found is None or not store.find(keys.manifest_key(model, found.version)):
        return None
    return found.version

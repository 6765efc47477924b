"""Publishing a version: a number claimed, its files sent, its manifest last."""

import hashlib
import logging
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tasks import layout, versions
from tasks.errors import InvalidSavedModel, StoreError
from tasks.records import Claim, FileEntry, Manifest, SignatureSpec, Training
from tasks.store import Store

log = logging.getLogger(__name__)

# The fingerprint differs between two exports of the same weights; it decides no answer.
NOT_CONTENT = {"fingerprint.pb"}
_TRANSFERS = 8  # files under way at once


def publish_version(
    store: Store,
    model: str,
    directory: Path,
    *,
    signatures: dict[str, SignatureSpec],
    golden: str | None,
    training: Training,
    run: str,
) -> Manifest:
    """Publish the SavedModel in `directory` as the next version of `model`.

    A version is visible once its manifest is there, which is written last. A publisher that dies before leaves a
    claimed number and no version; the number is not used again.

    Args:
        golden: path of the golden examples, relative to `directory`, or None.
        run: name of the run that publishes; it must be unique to this publisher.

    Raises:
        InvalidName: the model could not be served by that name.
        InvalidSavedModel: the folder holds a link or nothing at all.
    """
    layout.model_name(model)
    files = describe_files(directory)
    number = claim_number(store, model, run)
    prefix = layout.version_prefix(model, number)
    log.info("publishing %s version %d: %d files, %d bytes", model, number, len(files), sum(f.size for f in files))
    with ThreadPoolExecutor(_TRANSFERS) as pool:
        for sent in [pool.submit(store.upload, directory / f.path, prefix + f.path) for f in files]:
            sent.result()
    manifest = Manifest(
        model=model,
        version=number,
        content_id=content_id(files),
        files=tuple(files),
        signatures=signatures,
        golden=golden,
        training=training,
    )
    if not store.create(layout.manifest_key(model, number), manifest.to_json()):
        raise StoreError(
            f"Version {number} of {model} has a manifest that this run did not write, though it holds the claim: "
            "something else writes into this bucket. Nothing was overwritten; publish again."
        )
    return manifest


def claim_number(store: Store, model: str, run: str) -> int:
    """Take the next version number of `model` for `run`, against any number of others who want it too."""
    taken = versions.claimed(store, model) + versions.published(store, model)
    number = max(taken, default=0) + 1
    while not store.create(layout.claim_key(model, number), Claim(model=model, version=number, run=run).to_json()):
        number += 1
    return number


def describe_files(directory: Path) -> list[FileEntry]:
    """Every file under `directory` with size and sha256, sorted by path.

    Raises:
        InvalidSavedModel: there is none, or one is a link.
    """
    entries = []
    for path in sorted(directory.rglob("*")):
        if path.is_symlink():
            raise InvalidSavedModel(f"{path} is a link: a version holds plain files only. Copy what it points at.")
        if path.is_file():
            name = path.relative_to(directory).as_posix()
            entries.append(FileEntry(name, path.stat().st_size, sha256_of(path)))
    if not entries:
        raise InvalidSavedModel(f"{directory} holds no file: give the folder of a SavedModel.")
    return entries


def content_id(files: Iterable[FileEntry]) -> str:
    """Identity of what a version answers: one sha256 over the files that decide it."""
    digest = hashlib.sha256()
    for f in sorted(files, key=lambda f: f.path):
        if f.path not in NOT_CONTENT:
            digest.update(f"{f.path}\0{f.size}\0{f.sha256}\n".encode())
    return digest.hexdigest()


def sha256_of(path: Path) -> str:
    """sha256 of a file, read in a stream."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""Publishing a version: a number claimed, its files sent, its manifest last."""

import contextlib
import hashlib
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from tasks import graph_ops, layout, signing, versions
from tasks.errors import InvalidSavedModel, NotFound, SlipwayError, StoreError
from tasks.records import Claim, Comparison, FileEntry, Manifest, SignatureSpec, Training
from tasks.store import Store

log = logging.getLogger(__name__)

# The fingerprint differs between two exports of the same weights; it decides no answer.
NOT_CONTENT = {"fingerprint.pb"}


def publish_version(
    store: Store,
    model: str,
    directory: Path,
    *,
    signatures: Mapping[str, SignatureSpec],
    golden: str | None,
    training: Training,
    run: str,
    gate: Comparison | None = None,
) -> Manifest:
    """Publish the SavedModel in `directory` as the next version of `model`.

    A version is visible once its manifest is there, which is written last. A publisher that dies before leaves a
    claimed number and no version; the number is not used again.

    Args:
        golden: path of the golden examples, relative to `directory`, or None.
        run: name of the run that publishes.
        gate: how it compared with the version that serves, or None.

    Raises:
        InvalidName: the model could not be served by that name.
        InvalidSavedModel: the folder is no SavedModel, holds a link, or was written to meanwhile.
        ForbiddenOps: its graph holds operations that touch files or run code.
        InvalidSettings: there is no key to sign with.
        StoreUnsuitable: the store lacks create-if-absent.
        StoreError: the store did not take it, or something else writes there. What was sent is deleted again.
    """
    layout.model_name(model)
    if store.trust.private_key is not None:
        signing.require_signer(store.trust.private_key)
    graph_ops.require_harmless(directory, store.trust.allowed_ops)
    before = _stamps(directory)
    files = describe_files(directory)
    store.require_suitable()
    number = claim_number(store, model, run)
    log.info("publishing %s version %d: %d files, %d bytes", model, number, len(files), sum(f.size for f in files))
    manifest = Manifest(
        model=model,
        version=number,
        content_id=content_id(files),
        files=tuple(files),
        signatures=signatures,
        golden=golden,
        training=training,
        gate=gate,
    )
    try:
        _send_files(store, manifest, directory)
        if _stamps(directory) != before:
            raise InvalidSavedModel(f"{directory} was written to while it was published: wait for its writer to end.")
        _commit(store, manifest)
    except Exception:
        with contextlib.suppress(SlipwayError):  # the first error matters; what stays behind is found as abandoned
            versions.discard(store, model, number)
        raise
    return manifest


def claim_number(store: Store, model: str, run: str) -> int:
    """Take the next version number of `model` for `run`, against any number of others who want it too."""
    number = max(versions.taken(store, model), default=0) + 1
    while not store.create(layout.claim_key(model, number), Claim(model=model, version=number, run=run).to_json()):
        number += 1
    return number


def describe_files(directory: Path) -> list[FileEntry]:
    """Every file under `directory` with size and sha256, sorted by path.

    Raises:
        InvalidSavedModel: as `plain_files` does.
    """
    return [
        FileEntry(path.relative_to(directory).as_posix(), path.stat().st_size, sha256_of(path))
        for path in plain_files(directory)
    ]


def plain_files(directory: Path) -> list[Path]:
    """Every file under `directory`, sorted; none is opened, for a link in a stranger's folder may lead to any file.

    Raises:
        InvalidSavedModel: there is none, one is a link or a device, or has a name that not every system can hold.
    """
    found = []
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        if path.is_symlink():
            raise InvalidSavedModel(f"{path} is a link: a version holds plain files only. Copy what it points at.")
        if not layout.is_plain_path(name):
            raise InvalidSavedModel(f"{directory} holds {name!r}, a name that not every system can hold: rename it.")
        if path.is_file():
            found.append(path)
        elif not path.is_dir():
            raise InvalidSavedModel(f"{path} is neither a file nor a folder: a version holds plain files only.")
    if not found:
        raise InvalidSavedModel(f"{directory} holds no file: give the folder of a SavedModel.")
    return found


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


def _send_files(store: Store, manifest: Manifest, directory: Path) -> None:
    prefix = layout.version_prefix(manifest.model, manifest.version)
    try:
        store.upload_all({prefix + f.path: directory / f.path for f in manifest.files})
    except NotFound as error:
        raise _gave_up(manifest) from error  # an upload in parts that someone ended
    except OSError as error:
        raise InvalidSavedModel(f"{directory} cannot be read any more: {error}. Publish it again.") from error
    sent = {o.key.removeprefix(prefix): o.size for o in store.objects(prefix)}
    if sent != {f.path: f.size for f in manifest.files}:
        raise _gave_up(manifest)


def _commit(store: Store, manifest: Manifest) -> None:
    """Sign the manifest and write it, which makes the version visible."""
    model, number, data = manifest.model, manifest.version, manifest.to_json()
    if store.trust.private_key is not None:
        signature = signing.sign(data, f"{model} version {number}", store.trust.private_key)
        store.put(layout.signature_key(model, number), signature)
    if not store.create(layout.manifest_key(model, number), data):
        raise _gave_up(manifest)


def _gave_up(manifest: Manifest) -> StoreError:
    return StoreError(
        f"Number {manifest.version} of {manifest.model} was closed or taken while its files were sent: it took longer "
        "than SLIPWAY_CLAIM_GRACE allows, or something else writes into this bucket. Nothing was overwritten; publish "
        "again."
    )


def _stamps(directory: Path) -> dict[str, tuple[int, int, int]]:
    """What changes when a file under `directory` is written to."""
    stats = {str(path): os.lstat(path) for path in directory.rglob("*") if not path.is_dir()}
    return {path: (s.st_size, s.st_mtime_ns, s.st_ino) for path, s in stats.items()}

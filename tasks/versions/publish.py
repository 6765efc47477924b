"""Publishing a version: a number is claimed, its files are sent, its manifest is written last."""

import contextlib
import logging
from pathlib import Path

from tasks import names
from tasks.errors import InvalidSavedModel, NotFound, SlipwayError, StoreError
from tasks.records import Build, Claim, Comparison, Manifest
from tasks.savedmodel import safety
from tasks.savedmodel.content import content_id, describe_files, stamps
from tasks.savedmodel.read import SavedModelFolder
from tasks.store import keys
from tasks.store.base import Store
from tasks.versions import catalog, known, signing
from tasks.versions.signing import Trust

log = logging.getLogger(__name__)


def publish(
    store: Store, trust: Trust, build: Build, run: str, gate: Comparison | None = None, again: bool = False
) -> Manifest:
    """Publish the build as the next version of its model. Its folder is not needed afterwards.

    A version is visible once its manifest is there, which is written last. A publisher that dies before that leaves a
    claimed number without a version; the number is not used again.

    Args:
        trust: holds the key that signs it, and what its graph may hold.
        run: name of the run that publishes.
        gate: how it compared with the live version; None if it was not compared.
        again: publish it even if a version has the same content.

    Raises:
        AlreadyPublished: a version has the same content.
        InvalidName: the model could not be served under that name.
        InvalidSavedModel: the folder is not a SavedModel, holds a link, or was written to meanwhile.
        ForbiddenOps: its graph holds operations that touch files or run code.
        InvalidSettings: there is no key to sign with.
        StoreUnsuitable: the store lacks create-if-absent.
        StoreError: the store did not take it, or something else writes there. What was sent is deleted again.
    """
    model, directory = names.model_name(build.model), Path(build.directory)
    trust.require_signer()
    before = stamps(directory)
    safety.require_harmless(SavedModelFolder.read(directory), trust.allowed_ops)
    files = describe_files(directory)
    store.require_suitable()
    number = claim_number(store, model, run)
    log.info("publishing %s version %d: %d files, %d bytes", model, number, len(files), sum(f.size for f in files))
    manifest = Manifest(
        model=model,
        version=number,
        content_id=content_id(files),
        files=tuple(files),
        signatures=build.signatures,
        golden=build.golden,
        training=build.training,
        gate=gate,
    )
    try:
        _send_files(store, manifest, directory)
        if stamps(directory) != before:
            raise InvalidSavedModel(f"{directory} was written to while it was published: wait for its writer to end.")
        known.note_version(store, manifest, again)
        _commit(store, trust, manifest)
    except Exception:
        with contextlib.suppress(SlipwayError):  # the first error matters; what stays behind is found as abandoned
            catalog.discard(store, model, number)
        raise
    log.info("published %s version %d", model, number)
    return manifest


def claim_number(store: Store, model: str, run: str) -> int:
    """Take the next version number of `model` for `run`, also if many others want one at the same time."""
    number = max(catalog.taken(store, model), default=0) + 1
    while not store.create(keys.claim_key(model, number), Claim(model=model, version=number, run=run).to_json()):
        number += 1
    return number


def _send_files(store: Store, manifest: Manifest, directory: Path) -> None:
    prefix = keys.version_prefix(manifest.model, manifest.version)
    try:
        store.upload_all({prefix + f.path: directory / f.path for f in manifest.files})
    except NotFound as error:
        raise _gave_up(manifest) from error  # somebody aborted a multipart upload
    except OSError as error:
        raise InvalidSavedModel(f"{directory} cannot be read any more: {error}. Publish it again.") from error
    sent = {o.key.removeprefix(prefix): o.size for o in store.objects(prefix)}
    if sent != {f.path: f.size for f in manifest.files}:
        raise _gave_up(manifest)


def _commit(store: Store, trust: Trust, manifest: Manifest) -> None:
    """Sign the manifest and write it, which makes the version visible."""
    model, number, data = manifest.model, manifest.version, manifest.to_json()
    if trust.private_key is not None:
        signature = signing.sign(data, f"{model} version {number}", trust.private_key)
        store.put(keys.signature_key(model, number), signature)
    if not store.create(keys.manifest_key(model, number), data):
        raise _gave_up(manifest)


def _gave_up(manifest: Manifest) -> StoreError:
    return StoreError(
        f"Number {manifest.version} of {manifest.model} was closed or taken while its files were sent: it took longer "
        "than SLIPWAY_CLAIM_GRACE allows, or something else writes into this bucket. Nothing was overwritten; publish "
        "again."
    )

"""Fetching a version from the store to a folder that a model server reads: verified, then renamed into place."""

import contextlib
import logging
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from tasks import files, names
from tasks.errors import Corrupt, InvalidSettings, NotFound
from tasks.files import lock
from tasks.records import FileEntry, Manifest
from tasks.savedmodel import safety
from tasks.savedmodel.read import SavedModelFolder
from tasks.store import keys
from tasks.store.base import Store
from tasks.store.transfer import Wanted, download_all
from tasks.versions import catalog, kept
from tasks.versions.signing import Trust

log = logging.getLogger(__name__)

_INCOMING = ".incoming-"  # TensorFlow Serving ignores a folder whose name is not a number
_OUTGOING = ".outgoing-"
_SPARE = 64 << 20  # bytes that stay free on the disk
_verified: set[tuple[Path, int]] = set()  # folders, each with its inode, that this process fetched or has verified
_ABANDONED_AFTER = 86400.0  # seconds; if the file system has no locks, the age at which a folder counts as left


def fetch_version(store: Store, trust: Trust, model: str, version: int, models_dir: Path) -> Path:
    """Fetch the published version to `models_dir`/`model`/`version`, unless it is there; returns that folder.

    What is there already is believed only if this process fetched it, or has verified it once; else it is verified by
    its manifest, which is kept beside it, and fetched again if it was altered.

    The manifest's signature, every file's size and sha256 and the graph's operations are checked before the rename
    that makes the version visible to the server, so what is there is whole and authentic. A fetch that dies leaves
    a folder that no server reads. Two processes that fetch it into the same folder both succeed.

    Raises:
        InvalidName: no model can be served under that name.
        NotFound: there is no such version.
        Corrupt: its bytes are not those of its manifest, a file is missing or extra, or a path leaves the folder.
        SignatureInvalid: it is not signed with the trusted key.
        ForbiddenOps: its graph holds operations that touch files or run code.
        InvalidSettings: the disk has no room for it or cannot be written to, or the trusted key is missing.
    """
    target = models_dir / names.model_name(model) / str(version)
    if _is_verified(models_dir, trust, model, version, target):
        return target
    data, signature = catalog.signed_manifest(store, trust, model, version)
    manifest = catalog.parsed(store, model, version, data)
    require_whole(store, manifest)
    try:
        _require_room(manifest, models_dir)
        with _staging(target) as staging:
            _fetch_files(store, manifest, staging)
            safety.require_harmless(SavedModelFolder.read(staging), trust.allowed_ops)
            _sync_folders(staging)
            kept.keep(models_dir, model, version, data, signature)
            _make_visible(staging, target, trust, models_dir)
    except OSError as error:
        raise InvalidSettings(
            f"{models_dir} cannot take {model} version {version}: {error}. Make room or correct its permissions, or "
            "point SLIPWAY_MODELS_DIR elsewhere."
        ) from error
    _verified.add((target, target.stat().st_ino))
    log.info("fetched %s version %d: %d files verified", model, version, len(manifest.files))
    return target


def require_whole(store: Store, manifest: Manifest) -> None:
    """Compare the manifest's list of files with what the store holds, before anything is fetched.

    Raises:
        Corrupt: a file is missing, extra or of another size, or a path is not a plain one below the version's folder.
    """
    name = f"{manifest.model} version {manifest.version}"
    listed = {entry.path: entry.size for entry in manifest.files}
    for path in listed:
        if not files.is_plain_path(path):
            raise Corrupt(f"The manifest of {name} names the path {path!r}, which leaves the version's folder.")
    for path in listed:
        if any(str(folder) in listed for folder in PurePosixPath(path).parents):
            raise Corrupt(f"The manifest of {name} names {path!r}, and a file where its folder would be.")
    if len(listed) != len(manifest.files):
        raise Corrupt(f"The manifest of {name} names a file twice.")
    prefix = keys.version_prefix(manifest.model, manifest.version)
    # A key that ends in a slash is a folder that some tool made; it is empty.
    stored = {o.key.removeprefix(prefix): o.size for o in store.objects(prefix) if not o.key.endswith("/")}
    wrong = [
        *(f"{path} is missing" for path in sorted(listed.keys() - stored.keys())),
        *(f"{path} is extra" for path in sorted(stored.keys() - listed.keys())),
        *(
            f"{path} has {stored[path]} bytes instead of {listed[path]}"
            for path in sorted(listed.keys() & stored.keys())
            if listed[path] != stored[path]
        ),
    ]
    if wrong:
        raise Corrupt(f"The store does not hold {name} as its manifest lists it: {'; '.join(wrong[:5])}.")


def local_versions(models_dir: Path, model: str) -> list[int]:
    """Versions of `model` that lie whole under `models_dir`, ascending."""
    folder = models_dir / model
    if not names.is_name(model) or not folder.is_dir():  # `.manifests` holds the manifests of a model named `7` in `7`
        return []
    return sorted(int(p.name) for p in folder.iterdir() if p.name.isascii() and p.name.isdecimal())


def remove_version(models_dir: Path, model: str, version: int) -> None:
    """Delete a local version: one rename hides it from the server, then its files are deleted."""
    target = models_dir / model / str(version)
    if target.is_dir():
        _set_aside(target)
        log.info("removed the local copy of %s version %d", model, version)
    kept.forget(models_dir, model, version)


def clear_leftovers(models_dir: Path) -> None:
    """Delete what a fetch or removal that died left behind; what another process is still working on stays."""
    for leftover in (*models_dir.glob(f"*/{_INCOMING}*"), *models_dir.glob(f"*/{_OUTGOING}*")):
        if _is_abandoned(leftover):
            shutil.rmtree(leftover, ignore_errors=True)


@contextlib.contextmanager
def _staging(target: Path) -> Iterator[Path]:
    """A new folder beside `target`, locked while it is fetched, and deleted unless it was renamed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = target.parent / f"{_INCOMING}{target.name}-{uuid.uuid4().hex[:8]}"
    staging.mkdir()
    try:
        with lock(staging):
            yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _is_abandoned(folder: Path) -> bool:
    """Whether no process works on `folder` any more."""
    try:
        with lock(folder) as locked:
            return locked or time.time() - folder.stat().st_mtime > _ABANDONED_AFTER
    except (BlockingIOError, FileNotFoundError):
        return False


def _fetch_files(store: Store, manifest: Manifest, staging: Path) -> None:
    """Download every file, and compare it with the manifest."""
    prefix = keys.version_prefix(manifest.model, manifest.version)
    entries = {prefix + entry.path: entry for entry in manifest.files}
    wanted = [Wanted(key, staging / entry.path, entry.size) for key, entry in entries.items()]
    try:
        with contextlib.closing(download_all(store, wanted)) as arrivals:
            for file, sha256 in arrivals:
                _require_same(store.uri(file.key), entries[file.key], sha256)
    except NotFound as error:
        raise Corrupt(f"{error} The manifest lists it.") from error


def _require_same(uri: str, entry: FileEntry, sha256: str) -> None:
    if sha256 != entry.sha256:
        raise Corrupt(
            f"{uri} is not what was published: its sha256 is {sha256[:12]}…, but the manifest has "
            f"{entry.sha256[:12]}…. It is not served; publish a new version."
        )


def _is_verified(models_dir: Path, trust: Trust, model: str, version: int, target: Path) -> bool:
    """Whether the version lies there, as it was fetched; the reason why not is logged."""
    if not target.is_dir():
        return False
    if (target, target.stat().st_ino) not in _verified:
        try:
            kept.require_unaltered(models_dir, trust, model, version)
        except Corrupt as error:
            log.error("%s It is fetched again.", error)
            return False
        _verified.add((target, target.stat().st_ino))
    return True


def _make_visible(staging: Path, target: Path, trust: Trust, models_dir: Path) -> None:
    """Rename the version to where the server looks, in place of an altered one that is there.

    If another process was first with the same bytes, its stay.
    """
    try:
        staging.rename(target)
    except OSError:
        if not target.is_dir():
            raise
        if not _is_verified(models_dir, trust, target.parent.name, int(target.name), target):
            _set_aside(target)
            staging.rename(target)
    _sync(target.parent)


def _set_aside(target: Path) -> None:
    """Hide a version from the server by one rename, and then delete its files."""
    outgoing = target.parent / f"{_OUTGOING}{target.name}-{uuid.uuid4().hex[:8]}"
    with contextlib.suppress(FileNotFoundError):
        target.rename(outgoing)
        shutil.rmtree(outgoing, ignore_errors=True)


def _require_room(manifest: Manifest, models_dir: Path) -> None:
    models_dir.mkdir(parents=True, exist_ok=True)
    need, free = manifest.size + _SPARE, shutil.disk_usage(models_dir).free
    if need > free:
        raise InvalidSettings(
            f"The disk of {models_dir} has {free >> 20} MiB free; {manifest.model} version {manifest.version} needs "
            f"{need >> 20} MiB. Make room, or point SLIPWAY_MODELS_DIR elsewhere."
        )


def _sync_folders(folder: Path) -> None:
    for path in (folder, *(p for p in folder.rglob("*") if p.is_dir())):
        _sync(path)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

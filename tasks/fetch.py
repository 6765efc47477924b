"""Bringing a version from the store to a folder that a model server reads: verified whole, then renamed into place."""

import contextlib
import logging
import os
import shutil
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from tasks import layout, versions
from tasks.errors import Corrupt, InvalidSettings, NotFound
from tasks.records import FileEntry, Manifest
from tasks.store import Store

log = logging.getLogger(__name__)

_INCOMING = ".incoming-"  # TensorFlow Serving ignores a folder whose name is no number
_OUTGOING = ".outgoing-"
_TRANSFERS = 8
_SPARE = 64 << 20  # bytes that stay free on the disk


def fetch_version(store: Store, model: str, version: int, models_dir: Path) -> Path:
    """Have `models_dir`/`model`/`version` hold the version as published, and return it.

    Every file is compared with the manifest (size, sha256) before the rename that shows the version to the server,
    so what is there is whole. Dying on the way leaves a folder that no server reads.

    Raises:
        NotFound: there is no such version.
        Corrupt: its bytes are not those of its manifest, a file is missing or extra, or a path leaves the folder.
        InvalidSettings: the disk has no room for it.
    """
    target = models_dir / model / str(version)
    if target.is_dir():
        return target
    manifest = versions.manifest(store, model, version)
    require_whole(store, manifest)
    _require_room(manifest, models_dir)
    staging = target.parent / f"{_INCOMING}{version}-{uuid.uuid4().hex[:8]}"
    try:
        staging.mkdir(parents=True)
        with ThreadPoolExecutor(_TRANSFERS) as pool:
            for done in [pool.submit(_fetch_file, store, manifest, entry, staging) for entry in manifest.files]:
                done.result()
        _sync_folders(staging)
        with contextlib.suppress(OSError):  # another process that shares the folder was first, with the same bytes
            staging.rename(target)
        _sync(target.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    log.info("fetched %s version %d: %d files verified", model, version, len(manifest.files))
    return target


def require_whole(store: Store, manifest: Manifest) -> None:
    """Compare the manifest's list of files with what the store holds, before anything is brought.

    Raises:
        Corrupt: a file is missing or extra, or a path is not a plain one below the version's folder.
    """
    name = f"{manifest.model} version {manifest.version}"
    for entry in manifest.files:
        path = PurePosixPath(entry.path)
        if path.is_absolute() or ".." in path.parts or "\\" in entry.path or str(path) != entry.path:
            raise Corrupt(f"The manifest of {name} names the path {entry.path!r}, which leaves the version's folder.")
    prefix = layout.version_prefix(manifest.model, manifest.version)
    stored = {key.removeprefix(prefix) for key in store.keys(prefix)}
    listed = {entry.path for entry in manifest.files}
    if stored != listed:
        wrong = [f"{p} is missing" for p in sorted(listed - stored)] + [
            f"{p} is extra" for p in sorted(stored - listed)
        ]
        raise Corrupt(f"The store does not hold {name} as its manifest lists it: {'; '.join(wrong[:5])}.")


def local_versions(models_dir: Path, model: str) -> list[int]:
    """Versions of `model` that lie whole under `models_dir`, ascending."""
    folder = models_dir / model
    return sorted(int(p.name) for p in folder.iterdir() if p.name.isdigit()) if folder.is_dir() else []


def remove_version(models_dir: Path, model: str, version: int) -> None:
    """Delete a local version: out of the server's sight in one rename first."""
    target = models_dir / model / str(version)
    outgoing = target.parent / f"{_OUTGOING}{version}-{uuid.uuid4().hex[:8]}"
    with contextlib.suppress(FileNotFoundError):
        target.rename(outgoing)
        shutil.rmtree(outgoing, ignore_errors=True)
        log.info("removed the local copy of %s version %d", model, version)


def clear_leftovers(models_dir: Path) -> None:
    """Delete what a fetch or removal that died left behind. For the start, when nothing else works in the folder."""
    for leftover in (*models_dir.glob(f"*/{_INCOMING}*"), *models_dir.glob(f"*/{_OUTGOING}*")):
        shutil.rmtree(leftover, ignore_errors=True)


def _fetch_file(store: Store, manifest: Manifest, entry: FileEntry, staging: Path) -> None:
    path = staging / entry.path
    path.parent.mkdir(parents=True, exist_ok=True)
    key = layout.version_prefix(manifest.model, manifest.version) + entry.path
    try:
        size, sha256 = store.download(key, path)
    except NotFound as error:
        raise Corrupt(f"{store.uri(key)} is missing, though the manifest lists it.") from error
    if (size, sha256) != (entry.size, entry.sha256):
        raise Corrupt(
            f"{store.uri(key)} is not what was published: {size} bytes with sha256 {sha256[:12]}…, where the manifest "
            f"has {entry.size} bytes with {entry.sha256[:12]}…. It is not served; publish a new version."
        )


def _require_room(manifest: Manifest, models_dir: Path) -> None:
    models_dir.mkdir(parents=True, exist_ok=True)
    need, free = sum(f.size for f in manifest.files) + _SPARE, shutil.disk_usage(models_dir).free
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

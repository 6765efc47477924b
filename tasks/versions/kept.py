"""Versions on a replica's disk: whether they still are what was fetched, by the manifests that are kept beside them."""

import contextlib
import hashlib
import os
from pathlib import Path

from tasks.errors import Corrupt
from tasks.files import write_atomically
from tasks.records import Manifest
from tasks.versions import signing
from tasks.versions.signing import Trust

_FOLDER = ".manifests"  # beside the models' folders; no model can have this name


def keep(models_dir: Path, model: str, version: int, manifest: bytes, signature: bytes | None) -> None:
    """Keep a version's manifest and its signature, as they lie in the store. Idempotent."""
    data, signed = _paths(models_dir, model, version)
    if signature is not None:
        write_atomically(signed, signature)
    else:
        signed.unlink(missing_ok=True)
    write_atomically(data, manifest)


def forget(models_dir: Path, model: str, version: int) -> None:
    """Remove what was kept of a version."""
    for path in _paths(models_dir, model, version):
        path.unlink(missing_ok=True)


def require_unaltered(models_dir: Path, trust: Trust, model: str, version: int) -> None:
    """Raise unless a version's files are those of its manifest, which is signed with the trusted key. Asks no store.

    Raises:
        Corrupt: a file was changed, is missing or was added, or there is no manifest to compare with.
        SignatureInvalid: the manifest is not signed with the trusted key.
        InvalidSettings: the trusted key is missing.
    """
    name, folder = f"{model} version {version}", models_dir / model / str(version)
    data, signed = _paths(models_dir, model, version)
    if not data.exists():
        raise Corrupt(f"{folder} cannot be verified: its manifest {data} is not there.")
    manifest = data.read_bytes()
    if trust.public_key is not None:
        signature = signed.read_bytes() if signed.exists() else None
        signing.verify(manifest, signature, name, trust.public_key)
    found = Manifest.from_json(manifest, str(data))
    if (found.model, found.version) != (model, version):
        raise Corrupt(f"{data} is the manifest of {found.model} version {found.version}, not of {name}.")
    listed = {entry.path: entry for entry in found.files}
    there = {str((Path(parent) / file).relative_to(folder)) for parent, _, files in os.walk(folder) for file in files}
    if there != listed.keys():
        raise Corrupt(f"{folder} has other files than were fetched: {', '.join(sorted(there ^ listed.keys())[:5])}.")
    for path, entry in listed.items():
        if _sha256(folder / path) != entry.sha256:
            raise Corrupt(f"{folder / path} was changed since it was fetched.")


def _paths(models_dir: Path, model: str, version: int) -> tuple[Path, Path]:
    folder = models_dir / _FOLDER / model
    return folder / f"{version}.json", folder / f"{version}.sig"


def _sha256(path: Path) -> str:
    if path.is_symlink():
        return ""
    with contextlib.closing(path.open("rb")) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

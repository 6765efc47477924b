"""The files of a SavedModel, and which of them decide its answers."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from tasks.errors import InvalidSavedModel
from tasks.files import is_plain_path
from tasks.records import FileEntry

# The fingerprint differs between two exports of the same weights; it does not affect answers.
FINGERPRINT = "fingerprint.pb"
# Where a version keeps its golden examples, relative to its folder: what it is asked, not what it answers.
GOLDEN = "assets.extra/golden_examples.tfrecord"
NOT_CONTENT = {FINGERPRINT, GOLDEN}


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
    """Every file under `directory`, sorted; none is opened, since a link in a foreign folder may lead to any file.

    Raises:
        InvalidSavedModel: there is no file, or one is a link or a device, or has a name that not every system can hold.
    """
    found = []
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        if path.is_symlink():
            raise InvalidSavedModel(f"{path} is a link: a version holds plain files only. Copy what it points at.")
        if not is_plain_path(name):
            raise InvalidSavedModel(f"{directory} holds {name!r}, a name that not every system can hold: rename it.")
        if path.is_file():
            found.append(path)
        elif not path.is_dir():
            raise InvalidSavedModel(f"{path} is neither a file nor a folder: a version holds plain files only.")
    if not found:
        raise InvalidSavedModel(f"{directory} holds no file: give the folder of a SavedModel.")
    return found


def content_id(files: Iterable[FileEntry]) -> str:
    """Identity of a version's answers: one sha256 over the files that decide them."""
    digest = hashlib.sha256()
    for f in sorted(files, key=lambda f: f.path):
        if f.path not in NOT_CONTENT:
            digest.update(f"{f.path}\0{f.size}\0{f.sha256}\n".encode())
    return digest.hexdigest()


def sha256_of(path: Path) -> str:
    """sha256 of a file, read in a stream."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stamps(directory: Path) -> dict[str, tuple[int, int, int]]:
    """Size, time and inode of each file under `directory`, by path: they change when it is written to."""
    stats = {str(path): os.lstat(path) for path in directory.rglob("*") if not path.is_dir()}
    return {path: (s.st_size, s.st_mtime_ns, s.st_ino) for path, s in stats.items()}

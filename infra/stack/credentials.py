"""Credentials of the local object store: made at random at first start, and never known to anyone else."""

import json
import os
import secrets
from pathlib import Path

from tasks.credentials import credentials
from tasks.settings import Settings


def ensure_credentials(settings: Settings) -> bool:
    """Make the local store's credentials if there are none; whether they were made by this call.

    The file is written whole under another name and then linked, so that a reader never meets half of it and of two
    writers at once one wins. Its mode is 0600.
    """
    path = settings.credentials_file
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists():
        path.chmod(0o600)
        return False
    identity = {
        "name": "slipway",
        "credentials": [{"accessKey": secrets.token_hex(10), "secretKey": secrets.token_urlsafe(30)}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    draft = write_private(path, json.dumps({"identities": [identity]}, indent=1))
    try:
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    return True


def write_profile(settings: Settings) -> Path:
    """The same credentials in the form that AWS's own tools read (mode 0600); for MLflow, which keeps artifacts there.

    Raises:
        InvalidSettings: the credentials cannot be read.
    """
    access, secret = credentials(settings)
    path = profile_file(settings)
    text = f"[default]\naws_access_key_id = {access}\naws_secret_access_key = {secret}\n"
    write_private(path, text).replace(path)
    return path


def profile_file(settings: Settings) -> Path:
    """Where `write_profile` writes."""
    return settings.credentials_file.with_name("profile.ini").absolute()


def write_private(path: Path, text: str) -> Path:
    """`text` in a new file beside `path`, on the disk, readable by its owner alone."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return draft

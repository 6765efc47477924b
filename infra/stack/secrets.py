"""Everything secret that the local stack makes: at random, at first start, readable by its owner alone."""

import json
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.files import write_atomically
from tasks.settings import Settings
from tasks.store.credentials import credentials

if TYPE_CHECKING:
    pass
from tasks.versions.signing import public_half


def ensure_credentials(settings: Settings) -> bool:
    """Make the local store's credentials if there are none (mode 0600); whether they were made by this call."""
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
    return create_private(path, json.dumps({"identities": [identity]}, indent=1))


def has_credentials(settings: Settings) -> bool:
    """Whether the store's credentials are the local stack's or the settings', and not searched for in AWS's places."""
    return settings.s3_endpoint is None or settings.s3_access_key is not None


def write_profile(settings: Settings) -> Path:
    """The same credentials in the form that AWS's own tools read (mode 0600); for MLflow, which keeps artifacts there.

    Raises:
        InvalidSettings: the credentials cannot be read.
    """
    access, secret = credentials(settings)
    path = profile_file(settings)
    text = f"[default]\naws_access_key_id = {access}\naws_secret_access_key = {secret}\n"
    replace_private(path, text)
    return path


def profile_file(settings: Settings) -> Path:
    """Where `write_profile` writes."""
    return settings.credentials_file.with_name("profile.ini").absolute()


def create_private(path: Path, text: str) -> bool:
    """`text` at `path` (mode 0600) unless something is there; whether it was written.

    It is written whole under another name and then linked, so that a reader never meets half of it and of two writers
    at once one wins.
    """
    draft = _draft(path, text)
    try:
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    return True


def replace_private(path: Path, text: str) -> None:
    """`text` at `path` (mode 0600), whatever is there."""
    _draft(path, text).replace(path)


def _draft(path: Path, text: str) -> Path:
    """`text` in a new file beside `path`, on the disk, readable by its owner alone."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return draft


def ensure_key_pair(settings: Settings) -> bool:
    """Make the key pair under home if there is none; whether it was made by this call.

    The private key is written whole under another name and then linked, so that of two makers at once one wins; the
    public key is always the one that belongs to it. Keys that the settings name elsewhere are never made.

    Raises:
        InvalidSettings: the private key there cannot be read.
    """
    if settings.signing == "off" or settings.signing_key is not None:
        return False
    path = settings.private_key
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = not path.exists() and create_private(path, _new_private_key().decode())
    path.chmod(0o600)
    public = path.with_suffix(".pub")
    if made or not public.exists():
        write_atomically(public, public_half(path))
    return made


def _new_private_key() -> bytes:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )

"""Everything secret that the local stack makes: at random, at its first start, readable by its owner alone."""

import json
import secrets
from pathlib import Path

from tasks.files import create, write_atomically
from tasks.settings import Settings
from tasks.store.credentials import credentials
from tasks.versions.signing import public_half

PRIVATE = 0o600  # mode of a file that its owner alone may read


def ensure_credentials(settings: Settings) -> bool:
    """Make the local store's credentials if there are none (mode 0600); whether they were made by this call."""
    path = settings.credentials_file
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists():
        path.chmod(PRIVATE)
        return False
    identity = {
        "name": "slipway",
        "credentials": [{"accessKey": secrets.token_hex(10), "secretKey": secrets.token_urlsafe(30)}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    return create(path, json.dumps({"identities": [identity]}, indent=1).encode(), PRIVATE)


def has_credentials(settings: Settings) -> bool:
    """Whether the store's credentials come from the local stack or from the settings, and not from AWS's own files."""
    return settings.s3_endpoint is None or settings.s3_access_key is not None


def write_profile(settings: Settings) -> Path:
    """The same credentials in the form that AWS's own tools read (mode 0600); for MLflow, which keeps artifacts there.

    Raises:
        InvalidSettings: the credentials cannot be read.
    """
    access, secret = credentials(settings)
    path = profile_file(settings)
    text = f"[default]\naws_access_key_id = {access}\naws_secret_access_key = {secret}\n"
    write_atomically(path, text.encode(), PRIVATE)
    return path


def profile_file(settings: Settings) -> Path:
    """The file that `write_profile` writes."""
    return settings.credentials_file.with_name("profile.ini").absolute()


def ensure_key_pair(settings: Settings) -> bool:
    """Make the key pair under home if there is none; whether it was made by this call.

    If two processes make them at once one wins, and the public key always belongs to the private one. Keys that the
    settings place elsewhere are never made.

    Raises:
        InvalidSettings: the private key there cannot be read.
    """
    if settings.signing == "off" or settings.signing_key is not None:
        return False
    path = settings.private_key
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = not path.exists() and create(path, _new_private_key(), PRIVATE)
    path.chmod(PRIVATE)
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

"""Signatures over manifests and fleets' configs: only what the holder of the signing key wrote is served.

A manifest names its model, its number and every file with its sha256; signing the manifest's bytes binds them all, so
neither an old version under a new number nor another model's version is accepted. The signature lies beside the
manifest, in the OpenSSF Model Signing form, so that versions can be signed anew when the key changes. A config is small
and has no parts: its signature is a plain ECDSA one (SHA-256, DER, Base64), which `openssl dgst -verify` verifies too.
"""

import base64
import binascii
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.errors import InvalidSettings, SignatureInvalid
from tasks.processes import temporary_folder
from tasks.settings import Settings

if TYPE_CHECKING:
    from model_signing import hashing


_CURVES = ("secp256r1", "secp384r1", "secp521r1")  # what the library signs with
_SIGNED = "manifest.json"  # the name of the manifest in the signed statement


@dataclass(frozen=True)
class Trust:
    """What a version must satisfy before it is served, and the key that signs what is published."""

    public_key: Path | None  # verifies what may be served; None: anyone who can write to the bucket decides
    private_key: Path | None = None
    allowed_ops: frozenset[str] = frozenset()  # operations that touch files or run code, but are allowed

    @classmethod
    def of(cls, settings: Settings) -> "Trust":
        """The trust that the settings ask for."""
        if settings.signing == "off":
            return cls(None, None, settings.allowed_operations)
        return cls(settings.public_key, settings.private_key, settings.allowed_operations)

    def require_signer(self) -> None:
        """Raise unless what is to be signed can be.

        Raises:
            InvalidSettings: the key is missing, or is not one that can sign.
        """
        if self.private_key is not None:
            require_signer(self.private_key)

    def verifying_key(self) -> bytes | None:
        """The public key, as PEM; None if nothing is signed.

        Raises:
            InvalidSettings: it is missing.
        """
        if self.public_key is None:
            return None
        if not self.public_key.exists():
            raise InvalidSettings(_no_trusted_key(self.public_key))
        return self.public_key.read_bytes()


def warnings(settings: Settings) -> list[str]:
    """What is unsafe or broken about signing here, each in a sentence; empty if all is well.

    A machine that only serves needs no private key; one that only publishes needs no public one.
    """
    if settings.signing == "off":
        return [
            "Signing is off (SLIPWAY_SIGNING=off): replicas serve what lies in the bucket, no matter who wrote it. "
            "Unset it to serve only what was published with the signing key."
        ]
    found = []
    private, public = settings.private_key, settings.public_key
    if not private.exists() and not public.exists():
        found.append(f"There is neither {private} nor {public}: nothing can be published or served. Run `make up`.")
    if private.exists():
        if private.stat().st_mode & 0o077:
            found.append(f"The signing key {private} can be read by others: run `chmod 600 {private}`.")
        try:
            if public.exists() and public_half(private).strip() != public.read_bytes().strip():
                found.append(
                    f"{public} is not the public half of {private}: what is published here is not served here."
                )
        except InvalidSettings as error:
            found.append(str(error))
    return found


def require_signer(private_key: Path) -> None:
    """Raise unless `private_key` can sign.

    Raises:
        InvalidSettings: it is missing, or is not a key that can sign.
    """
    if not private_key.exists():
        raise InvalidSettings(
            f"There is no signing key {private_key}: run `make up`, which makes one, let SLIPWAY_SIGNING_KEY name "
            "yours, or publish unsigned with SLIPWAY_SIGNING=off."
        )
    public_half(private_key)


def sign(manifest: bytes, name: str, private_key: Path) -> bytes:
    """The signature over a manifest's bytes: a Sigstore bundle, as JSON. `name` is only for readers.

    Raises:
        InvalidSettings: the key is missing or cannot sign.
    """
    require_signer(private_key)
    from model_signing import signing

    with temporary_folder("sign") as folder:
        signed, bundle = _folder(folder, name, manifest), folder / "bundle"
        signer = signing.Config().use_elliptic_key_signer(private_key=private_key)
        signer.set_hashing_config(_hashing()).sign(signed, bundle)
        return bundle.read_bytes()


def verify(manifest: bytes, signature: bytes | None, name: str, public_key: Path) -> None:
    """Prove that `signature` was made over these bytes with the private half of `public_key`.

    Raises:
        SignatureInvalid: there is no signature, or it was made over other bytes or with another key.
        InvalidSettings: the key is missing or cannot verify.
    """
    if not public_key.exists():
        raise InvalidSettings(_no_trusted_key(public_key))
    if signature is None:
        raise SignatureInvalid(
            f"{name} is not signed, and only versions signed with {public_key} may be served here. Publish it again "
            "with the signing key."
        )
    from model_signing import verifying

    with temporary_folder("verify") as folder:
        signed, bundle = _folder(folder, name, manifest), folder / "bundle"
        bundle.write_bytes(signature)
        try:
            verifier = verifying.Config().use_elliptic_key_verifier(public_key=public_key)
        except (ValueError, TypeError, AttributeError) as error:
            raise InvalidSettings(_unusable(public_key, error)) from error
        try:
            verifier.set_hashing_config(_hashing()).verify(signed, bundle)
        except Exception as error:  # a foreign bundle may raise anything: none of it is valid
            raise SignatureInvalid(
                f"The signature of {name} was not made over its manifest with the key of {public_key} "
                f"({str(error).strip() or type(error).__name__}): it was signed by someone else, or changed since. It "
                "is not served; publish a new version."
            ) from error


def sign_bytes(data: bytes, private_key: Path) -> bytes:
    """The plain signature over `data`, in Base64.

    Raises:
        InvalidSettings: the key is missing or cannot sign.
    """
    require_signer(private_key)
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = serialization.load_pem_private_key(private_key.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)  # as require_signer has found
    return base64.b64encode(key.sign(data, ec.ECDSA(hashes.SHA256())))


def is_signed(data: bytes, signature: bytes, public_key: bytes) -> bool:
    """Whether `sign_bytes` made the signature over these bytes, with the private half of this key (PEM).

    Raises:
        InvalidSettings: the key cannot verify.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        key = serialization.load_pem_public_key(public_key)
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise ValueError("it is of another kind")
    except ValueError as error:
        raise InvalidSettings(_unusable("that SLIPWAY_TRUSTED_KEY names", error)) from error
    try:
        key.verify(base64.b64decode(signature, validate=True), data, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, binascii.Error):
        return False
    return True


def _folder(parent: Path, name: str, manifest: bytes) -> Path:
    """A folder with the manifest alone, which is what the library signs and verifies."""
    folder = parent / name.replace("/", "-")
    folder.mkdir()
    (folder / _SIGNED).write_bytes(manifest)
    return folder


def _hashing() -> "hashing.Config":
    from model_signing import hashing

    return (
        hashing.Config()
        .use_file_serialization(hashing_algorithm="sha256")
        .set_ignored_paths(paths=[], ignore_git_paths=False)
    )


def public_half(private_key: Path) -> bytes:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        key = serialization.load_pem_private_key(private_key.read_bytes(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name not in _CURVES:
            raise ValueError("it is of another kind")
    except (ValueError, TypeError, OSError) as error:
        raise InvalidSettings(_unusable(private_key, error)) from error
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _no_trusted_key(public_key: Path) -> str:
    return (
        f"There is no trusted key {public_key}: let SLIPWAY_TRUSTED_KEY name the public key of the publisher, "
        "or serve unsigned versions with SLIPWAY_SIGNING=off."
    )


def _unusable(key: Path | str, error: Exception) -> str:
    return (
        f"The key {key} cannot be used: {str(error).splitlines()[0] if str(error) else type(error).__name__}. "
        "It must be an elliptic-curve key (P-256, P-384 or P-521) in PEM form, without a password."
    )

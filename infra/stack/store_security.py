"""Who may use the local store: S3 answers those who have its keys, everything else only the store's own parts.

SeaweedFS consists of servers (master, volume, filer, admin) that by default answer everyone who reaches their ports.
Here each of them asks for the store's own certificate, over HTTP and over gRPC: mutual TLS
(https://github.com/seaweedfs/seaweedfs/wiki/Security-Configuration).
"""

import ipaddress
from datetime import UTC, datetime
from pathlib import Path

from infra.stack.secrets import PRIVATE
from tasks.files import create, write_atomically
from tasks.settings import Settings

_NAME = "slipway-store"
# A period so long that a wrong clock does not stop the store.
_BEGIN, _END = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
_GRPC = ("master", "volume", "filer", "s3", "admin", "worker", "client")
_HTTPS = ("master", "volume", "filer", "admin")


def secure_store(settings: Settings) -> None:
    """Make the store's certificate unless it exists, and write the configuration that makes its ports ask for it."""
    folder = settings.home.absolute() / "store"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    certificate = certificate_file(settings)
    if not certificate.exists():
        create(certificate, _made_certificate(settings.host).encode(), PRIVATE)
    write_atomically(folder / "security.toml", security(certificate).encode(), PRIVATE)


def certificate_file(settings: Settings) -> Path:
    """The file with the store's certificate and its private key."""
    return settings.home.absolute() / "store" / f"{settings.host}.pem"


def security(certificate: Path) -> str:
    """SeaweedFS's security.toml: every port but S3's asks for `certificate`, and every part of the store has it."""
    pair = f"cert = '{certificate}'\nkey = '{certificate}'\n"
    trusted = f"ca = '{certificate}'\n"
    return "\n".join(
        [
            f"[grpc]\n{trusted}",
            *(f"[grpc.{part}]\n{pair}" for part in _GRPC),
            f"[https.client]\nenabled = true\n{trusted}{pair}",
            *(f"[https.{part}]\n{trusted}{pair}" for part in _HTTPS),
        ]
    )


def _made_certificate(host: str) -> str:
    """A self-signed certificate for `host` and this machine, and its private key, as PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    def named(host: str) -> x509.GeneralName:
        try:
            return x509.IPAddress(ipaddress.ip_address(host))
        except ValueError:
            return x509.DNSName(host)

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, _NAME)])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), _BEGIN, _END)
        .add_extension(x509.SubjectAlternativeName(map(named, {host, "127.0.0.1", "localhost"})), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return (certificate.public_bytes(serialization.Encoding.PEM) + private).decode()

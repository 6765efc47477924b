"""The store's certificate and its configuration."""

import ipaddress
import stat
import tomllib
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from infra.stack.store_security import secure_store
from tasks.settings import Settings


def test_every_port_but_s3s_asks_for_a_certificate_that_the_store_alone_has(tmp_path: Path) -> None:
    folder = tmp_path / "its 50% home" / "store"
    secure_store(Settings(home=folder.parent))
    pem = str(folder / "127.0.0.1.pem")
    shown = {"cert": pem, "key": pem}
    asked = {"ca": pem, **shown}
    config = tomllib.loads((folder / "security.toml").read_text())
    assert config["https"] == {
        **dict.fromkeys(("master", "volume", "filer", "admin"), asked),
        "client": {"enabled": True, **asked},
    }
    parts = ("master", "volume", "filer", "s3", "admin", "worker", "client")
    assert config["grpc"] == {"ca": pem, **dict.fromkeys(parts, shown)}
    for path in (folder, *folder.iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


@pytest.mark.parametrize("host", ["127.0.0.1", "192.0.2.7", "store.example"])
def test_the_certificate_is_for_the_host_and_stays(host: str, tmp_path: Path) -> None:
    mine = Settings(home=tmp_path, host=host)
    secure_store(mine)
    pem = (tmp_path / "store" / f"{host}.pem").read_bytes()
    certificate = x509.load_pem_x509_certificate(pem)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    addresses = {str(address) for address in names.get_values_for_type(x509.IPAddress)}
    assert {host, "127.0.0.1", "localhost"} == addresses | set(names.get_values_for_type(x509.DNSName))
    assert ipaddress.ip_address("127.0.0.1") in names.get_values_for_type(x509.IPAddress)
    key = serialization.load_pem_private_key(pem, None)
    assert key.public_key() == certificate.public_key()
    secure_store(mine)
    assert (tmp_path / "store" / f"{host}.pem").read_bytes() == pem

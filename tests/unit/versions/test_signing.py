"""A signature binds a manifest's very bytes to the holder of the private key."""

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from infra.stack import secrets
from tasks.errors import InvalidSettings, SignatureInvalid
from tasks.settings import Settings
from tasks.versions import signing

MANIFEST = b'{"model": "MLP", "version": 7}'
NAME = "MLP version 7"


@pytest.fixture
def mine(tmp_path: Path) -> Settings:
    """Settings with a key pair of their own."""
    settings = Settings(home=tmp_path / "home")
    secrets.ensure_key_pair(settings)
    return settings


def test_what_was_signed_is_verified(mine: Settings) -> None:
    signature = signing.sign(MANIFEST, NAME, mine.private_key)
    signing.verify(MANIFEST, signature, NAME, mine.public_key)


def test_a_manifest_that_differs_by_one_byte_is_refused(mine: Settings) -> None:
    signature = signing.sign(MANIFEST, NAME, mine.private_key)
    with pytest.raises(SignatureInvalid, match="MLP version 7"):
        signing.verify(MANIFEST + b" ", signature, NAME, mine.public_key)


def test_an_unsigned_manifest_is_refused(mine: Settings) -> None:
    with pytest.raises(SignatureInvalid, match="MLP version 7 is not signed"):
        signing.verify(MANIFEST, None, NAME, mine.public_key)


def test_the_signature_of_another_key_is_refused(mine: Settings, tmp_path: Path) -> None:
    other = Settings(home=tmp_path / "other")
    secrets.ensure_key_pair(other)
    signature = signing.sign(MANIFEST, NAME, other.private_key)
    with pytest.raises(SignatureInvalid, match="signed by someone else"):
        signing.verify(MANIFEST, signature, NAME, mine.public_key)
    lying = json.loads(signature)
    lying["verificationMaterial"] = json.loads(signing.sign(MANIFEST, NAME, mine.private_key))["verificationMaterial"]
    with pytest.raises(SignatureInvalid):
        signing.verify(MANIFEST, json.dumps(lying).encode(), NAME, mine.public_key)


@pytest.mark.parametrize("bundle", [b"", b"{}", b"[]", b"null", b"\xff\xfe", b'{"verificationMaterial": {}}'])
def test_whatever_is_no_bundle_is_refused(mine: Settings, bundle: bytes) -> None:
    with pytest.raises(SignatureInvalid):
        signing.verify(MANIFEST, bundle, NAME, mine.public_key)


def test_a_signed_statement_without_its_signature_is_refused(mine: Settings) -> None:
    bundle = json.loads(signing.sign(MANIFEST, NAME, mine.private_key))
    bundle["dsseEnvelope"]["signatures"] = []
    with pytest.raises(SignatureInvalid):
        signing.verify(MANIFEST, json.dumps(bundle).encode(), NAME, mine.public_key)


def test_a_key_pair_is_made_once_and_only_its_owner_reads_the_private_half(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    assert secrets.ensure_key_pair(settings)
    private, public = settings.private_key.read_bytes(), settings.public_key.read_bytes()
    assert stat.S_IMODE(settings.private_key.stat().st_mode) == 0o600
    settings.private_key.chmod(0o644)
    assert not secrets.ensure_key_pair(settings)
    assert stat.S_IMODE(settings.private_key.stat().st_mode) == 0o600
    assert (settings.private_key.read_bytes(), settings.public_key.read_bytes()) == (private, public)
    assert signing.warnings(settings) == []


def test_many_makers_at_once_agree_on_one_pair(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(lambda _: secrets.ensure_key_pair(settings), range(16)))
    assert made.count(True) == 1
    assert signing.warnings(settings) == []
    assert sorted(p.name for p in settings.private_key.parent.iterdir()) == ["signing.pem", "signing.pub"]


def test_a_maker_that_died_between_the_halves_is_made_up_for(mine: Settings) -> None:
    public = mine.public_key.read_bytes()
    mine.public_key.unlink()
    assert not secrets.ensure_key_pair(mine)
    assert mine.public_key.read_bytes() == public


def test_no_pair_is_made_where_signing_is_off_or_the_key_lies_elsewhere(tmp_path: Path) -> None:
    assert not secrets.ensure_key_pair(Settings(home=tmp_path, signing="off"))
    assert not secrets.ensure_key_pair(Settings(home=tmp_path, signing_key=tmp_path / "mine.pem"))
    assert not list(tmp_path.iterdir())


def test_missing_and_unusable_keys_are_named_with_their_settings(mine: Settings, tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match=r"no signing key .*SLIPWAY_SIGNING_KEY"):
        signing.sign(MANIFEST, NAME, tmp_path / "none.pem")
    with pytest.raises(InvalidSettings, match=r"no trusted key .*SLIPWAY_TRUSTED_KEY"):
        signing.verify(MANIFEST, b"{}", NAME, tmp_path / "none.pub")
    (tmp_path / "bad").write_text("no key")
    with pytest.raises(InvalidSettings, match=r"bad cannot be used"):
        signing.sign(MANIFEST, NAME, tmp_path / "bad")
    with pytest.raises(InvalidSettings, match=r"bad cannot be used"):
        signing.verify(MANIFEST, b"{}", NAME, tmp_path / "bad")


def test_what_is_unsafe_about_signing_is_told(mine: Settings, tmp_path: Path) -> None:
    assert "SLIPWAY_SIGNING=off" in signing.warnings(mine.model_copy(update={"signing": "off"}))[0]
    assert "Run `make up`" in signing.warnings(Settings(home=tmp_path / "nobody"))[0]
    mine.private_key.chmod(0o640)
    assert "can be read by others" in signing.warnings(mine)[0]
    other = Settings(home=tmp_path / "other")
    secrets.ensure_key_pair(other)
    crossed = other.model_copy(update={"trusted_key": mine.public_key})
    assert "is not the public half" in signing.warnings(crossed)[0]


def test_trust_is_what_the_settings_say(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, allowed_ops=" ReadFile,PyFunc, ", trusted_key=tmp_path / "theirs.pub")
    trust = signing.Trust.of(settings)
    assert trust.allowed_ops == {"ReadFile", "PyFunc"}
    assert trust.public_key == tmp_path / "theirs.pub"
    assert signing.Trust.of(settings.model_copy(update={"signing": "off"})).public_key is None

"""Credentials of the local store."""

import configparser
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from infra.stack.secrets import ensure_credentials, write_profile
from tasks.settings import Settings
from tasks.store.credentials import credentials


@pytest.fixture
def mine(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", s3_endpoint=None, s3_access_key=None, s3_secret_key=None)


def test_credentials_are_random_and_private(mine: Settings, tmp_path: Path) -> None:
    assert ensure_credentials(mine)
    assert stat.S_IMODE(mine.credentials_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(mine.credentials_file.parent.stat().st_mode) == 0o700
    other = Settings(home=tmp_path / "other")
    ensure_credentials(other)
    assert credentials(mine) != credentials(other)
    assert len(credentials(mine)[1] or "") >= 30


def test_credentials_that_are_there_stay_and_are_made_private(mine: Settings) -> None:
    ensure_credentials(mine)
    before = mine.credentials_file.read_bytes()
    mine.credentials_file.chmod(0o644)
    assert not ensure_credentials(mine)
    assert mine.credentials_file.read_bytes() == before
    assert stat.S_IMODE(mine.credentials_file.stat().st_mode) == 0o600


def test_of_many_at_once_one_makes_them_and_nothing_is_left_lying(mine: Settings) -> None:
    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(lambda _: ensure_credentials(mine), range(16)))
    assert sum(made) == 1
    assert [path.name for path in mine.credentials_file.parent.iterdir()] == ["s3.json"]


def test_the_profile_for_other_tools_holds_the_same_and_is_private(mine: Settings) -> None:
    ensure_credentials(mine)
    path = write_profile(mine)
    profile = configparser.ConfigParser()
    profile.read(path)
    given = (profile["default"]["aws_access_key_id"], profile["default"]["aws_secret_access_key"])
    assert given == credentials(mine)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600

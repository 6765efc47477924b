"""The log-in of the stack's web servers, and the profile that leads `prefect` to it."""

import stat
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from infra.stack.login import authorization, ensure_login, login_sentence, write_profiles
from tasks.settings import Settings


@pytest.fixture
def mine(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", prefect_port=4711)


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's file of profiles."""
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "user"))
    monkeypatch.delenv("PREFECT_PROFILES_PATH", raising=False)
    return tmp_path / "user" / "profiles.toml"


def read(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text())


def test_the_log_in_is_random_private_and_made_once(mine: Settings, tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        (made,) = set(pool.map(lambda _: ensure_login(mine), range(16)))
    assert len(made) >= 40
    assert made != ensure_login(Settings(home=tmp_path / "other"))
    assert stat.S_IMODE(mine.login_file.stat().st_mode) == 0o600
    assert [path.name for path in mine.home.iterdir()] == ["login"]
    user, password = made.split(":")
    assert f"In Prefect's page paste `{made}`" in login_sentence(mine)
    assert f"in MLflow's enter user {user} and password {password} " in login_sentence(mine)


def test_the_profile_becomes_active_on_a_machine_without_any(mine: Settings, theirs: Path) -> None:
    assert write_profiles(mine) == ""
    profile = {"PREFECT_API_URL": "http://127.0.0.1:4711/api", "PREFECT_API_AUTH_STRING": ensure_login(mine)}
    assert read(theirs) == {"active": "slipway", "profiles": {"slipway": profile}}
    assert stat.S_IMODE(theirs.stat().st_mode) == 0o600
    ours = mine.home / "prefect" / "profiles.toml"
    assert read(ours) == {"profiles": {"slipway": profile}}
    assert stat.S_IMODE(ours.stat().st_mode) == 0o600


@pytest.mark.parametrize("active", ["ephemeral", "gone", "slipway"])
def test_all_that_is_there_stays_as_it_is(mine: Settings, theirs: Path, active: str) -> None:
    theirs.parent.mkdir()
    before = f'# mine\nactive = "{active}"\n\n[profiles.ephemeral]  # as it came\nPREFECT_LOGGING_LEVEL = "INFO"\n'
    theirs.write_text(before)
    assert write_profiles(mine) == ""
    assert read(theirs)["active"] == "slipway"
    assert theirs.read_text().startswith(before.replace(f'"{active}"', '"slipway"'))
    after = theirs.stat().st_mtime_ns
    write_profiles(mine)
    assert theirs.stat().st_mtime_ns == after


def test_a_profile_that_names_a_server_of_its_own_stays_the_active_one(mine: Settings, theirs: Path) -> None:
    theirs.parent.mkdir()
    theirs.write_text('active = "cloud"\n[profiles.cloud]\nPREFECT_API_URL = "https://prefect.example/api"\n')
    assert "`prefect profile use slipway`" in write_profiles(mine)
    assert read(theirs)["active"] == "cloud"
    assert read(theirs)["profiles"]["slipway"]["PREFECT_API_URL"] == mine.prefect_api


def test_what_the_user_added_to_the_profile_stays(mine: Settings, theirs: Path) -> None:
    theirs.parent.mkdir()
    theirs.write_text('[profiles.slipway]\nPREFECT_LOGGING_LEVEL = "DEBUG"\nPREFECT_API_URL = "http://old/api"\n')
    write_profiles(mine)
    profile = read(theirs)["profiles"]["slipway"]
    assert (profile["PREFECT_LOGGING_LEVEL"], profile["PREFECT_API_URL"]) == ("DEBUG", mine.prefect_api)
    assert read(theirs)["active"] == "slipway"


@pytest.mark.parametrize("broken", ["not toml [", "profiles = 1", "active = 1\n[profiles]\nslipway = 2"])
def test_profiles_that_cannot_be_read_are_left_alone_and_named(mine: Settings, theirs: Path, broken: str) -> None:
    theirs.parent.mkdir()
    theirs.write_text(broken)
    assert f"export PREFECT_API_URL={mine.prefect_api}" in write_profiles(mine)
    assert theirs.read_text() == broken
    assert (mine.home / "prefect" / "profiles.toml").exists()


def test_stacks_of_one_user_share_a_log_in(mine: Settings, theirs: Path, tmp_path: Path) -> None:
    others = [Settings(home=tmp_path / f"home{n}", prefect_port=5000 + n) for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write_profiles, [mine, *others]))
    assert len({ensure_login(settings) for settings in [mine, *others]}) == 1


def test_a_link_to_the_profiles_stays_a_link(mine: Settings, theirs: Path, tmp_path: Path) -> None:
    theirs.parent.mkdir()
    theirs.symlink_to(tmp_path / "dotfiles.toml")
    write_profiles(mine)
    assert theirs.is_symlink()
    assert read(tmp_path / "dotfiles.toml")["active"] == "slipway"


def test_the_log_in_is_shown_to_no_other_server(mine: Settings) -> None:
    ensure_login(mine)
    assert authorization(mine)["Authorization"].startswith("Basic ")
    assert authorization(mine.model_copy(update={"prefect_url": "http://p.example/api"})) == {}

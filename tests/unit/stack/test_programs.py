"""What the stack runs, from the settings."""

import os
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from infra.stack.environment import visible
from infra.stack.programs import Program, prefect_retries, programs, settings_environment
from infra.stack.secrets import profile_file
from tasks.settings import Settings


def by_name(settings: Settings) -> dict[str, Program]:
    return {program.name: program for program in programs(settings)}


def test_all_of_the_stack_runs_here_unless_a_setting_places_it_elsewhere(tmp_path: Path) -> None:
    here = Settings(home=tmp_path)
    assert set(by_name(here)) == {"store", "prefect", "mlflow", "model-server", "agent", "worker"}
    elsewhere = Settings(home=tmp_path, s3_endpoint="aws", prefect_url="http://p/api", mlflow_url="http://m")
    assert set(by_name(elsewhere)) == {"model-server", "agent", "worker"}


def test_what_a_program_waits_for_is_part_of_the_stack(tmp_path: Path) -> None:
    assert by_name(Settings(home=tmp_path))["worker"].after == ("prefect",)
    assert by_name(Settings(home=tmp_path, prefect_url="http://p/api"))["worker"].after == ()


def test_every_model_server_gets_the_same_flags(tmp_path: Path) -> None:
    binary = tmp_path / "tensorflow_model_server"
    binary.write_text("")
    binary.chmod(0o755)
    flags = []
    for choice in ("embedded", str(binary)):
        command = by_name(Settings(home=tmp_path, model_server=choice))["model-server"].command
        flags.append([word for word in command if word.startswith("--")])
    assert flags[0] == flags[1]
    assert "--file_system_poll_wait_seconds=1" in flags[0]
    assert "--allow_version_labels_for_unavailable_models=true" in flags[0]
    assert f"--model_config_file={tmp_path}/replicas/r1/models.config" in flags[0]


@pytest.mark.parametrize(("seconds", "retries"), [(1, 0), (2, 1), (6, 2), (29, 3), (30, 4), (62, 5)])
def test_a_prefect_server_that_went_away_is_tried_for_as_long_as_the_setting_says(seconds: float, retries: int) -> None:
    assert prefect_retries(seconds) == retries
    assert sum(2**n for n in range(1, retries + 1)) <= seconds


def test_no_program_is_told_a_secret(tmp_path: Path) -> None:
    mine = Settings(home=tmp_path, s3_access_key="key", s3_secret_key=SecretStr("hush"))
    texts = [text for p in programs(mine) for text in (*p.command, *p.environment.values())]
    assert not [text for text in texts if "hush" in text]


KEYS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SESSION_TOKEN": "b", "AWS_PROFILE": "c", "AWS_CONFIG_FILE": "d"}
USERS = {
    "PATH": "/bin",
    "https_proxy": "http://proxy:3128",
    "LC_ALL": "C.UTF-8",
    "PYTHONPATH": "/code",
    "PREFECT_SERVER_LOGGING_LEVEL": "DEBUG",
    "PREFECT_API_KEY": "e",
    "MLFLOW_TRACKING_PASSWORD": "f",
    "SLIPWAY_S3_SECRET_KEY": "g",
    "GITHUB_TOKEN": "h",
}


def seen(settings: Settings, program: str) -> set[str]:
    """Which of the user's variables a program sees beside the ordinary ones."""
    inherited = KEYS | USERS
    found = by_name(settings)[program]
    return set(visible(inherited, (*found.sees, *found.environment))) - {"PATH", "https_proxy", "LC_ALL"}


def test_each_program_sees_what_it_needs_of_the_users_environment(tmp_path: Path) -> None:
    local = Settings(home=tmp_path)
    assert seen(local, "store") == set()
    assert seen(local, "model-server") == set()
    assert seen(local, "prefect") == {"PREFECT_SERVER_LOGGING_LEVEL"}
    assert seen(local, "mlflow") == {"AWS_CONFIG_FILE"}  # which the stack sets
    assert by_name(local)["mlflow"].environment["AWS_CONFIG_FILE"] == os.devnull
    assert seen(local, "agent") == {"SLIPWAY_S3_SECRET_KEY"}


def test_a_store_elsewhere_is_reached_by_awss_own_search_unless_keys_are_set(tmp_path: Path) -> None:
    aws = Settings(home=tmp_path, s3_endpoint="aws")
    assert seen(aws, "mlflow") == set(KEYS)
    assert seen(aws, "agent") == {*KEYS, "SLIPWAY_S3_SECRET_KEY"}
    given = Settings(home=tmp_path, s3_endpoint="aws", s3_access_key="k", s3_secret_key=SecretStr("s"))
    assert seen(given, "mlflow") == {"AWS_CONFIG_FILE"}
    assert by_name(given)["mlflow"].environment["AWS_SHARED_CREDENTIALS_FILE"] == str(profile_file(given))


def test_every_program_but_the_worker_is_kept_from_the_rest(tmp_path: Path) -> None:
    for name, program in by_name(Settings(home=tmp_path)).items():
        assert ("infra.stack.takeover" in program.command) == (name != "worker")


def test_runs_of_the_worker_train_with_tensorflow_whatever_the_user_has_set(tmp_path: Path) -> None:
    environment = by_name(Settings(home=tmp_path))["worker"].environment
    assert (environment["KERAS_BACKEND"], environment["TF_USE_LEGACY_KERAS"]) == ("tensorflow", "0")


def test_a_process_elsewhere_reads_back_the_same_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mine = Settings(home=Path("relative"), models_dir=Path("models"), rest_port=1234, debug=True)
    for name, value in settings_environment(mine).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir("/")
    theirs = Settings()
    assert theirs.home == tmp_path / "relative"
    assert theirs.replica_models == tmp_path / "models"
    assert (theirs.rest_port, theirs.debug) == (1234, True)


def test_telemetry_of_every_server_is_off(tmp_path: Path) -> None:
    found = by_name(Settings(home=tmp_path))
    assert "-master.telemetry=false" in found["store"].command
    assert found["prefect"].environment["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert found["mlflow"].environment["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert found["worker"].environment["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_the_interpreter_has_the_same_name_whether_python_or_python3_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = programs(Settings(home=tmp_path))
    monkeypatch.setattr(sys, "executable", sys.executable + ".11")
    assert [p.command for p in programs(Settings(home=tmp_path))] == [p.command for p in before]


def test_model_servers_that_are_given_by_address_have_no_replica_of_ours_beside_them(tmp_path: Path) -> None:
    mine = Settings(home=tmp_path, replica_addresses="a:8500:8501,b:8500:8501")
    assert set(by_name(mine)) == {"store", "prefect", "mlflow", "worker"}
    assert mine.nearest_server.rest_url == "http://a:8501"


@pytest.mark.parametrize("wrong", ["a", "a:8500", "a:8500:0", "a:1:2,", "a:1:2,a:1:3", "a b:1:2"])
def test_addresses_that_cannot_be_are_refused(wrong: str) -> None:
    with pytest.raises(ValidationError):
        Settings(replica_addresses=wrong)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost", "build-7.corp.example"])
def test_a_host_is_an_ipv4_address_or_a_name(host: str) -> None:
    assert Settings(host=host).store_url == f"http://{host}:18333"


@pytest.mark.parametrize("wrong", ["", "::1", "[::1]", "127.0.0.1:80", "http://127.0.0.1", "a b", "-ip"])
def test_a_host_that_no_server_could_bind_to_is_refused(wrong: str) -> None:
    with pytest.raises(ValidationError, match="it must be an IPv4 address"):
        Settings(host=wrong)

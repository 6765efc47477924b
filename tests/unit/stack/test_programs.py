"""What the stack runs, from the settings."""

import sys
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from infra.stack.programs import Program, prefect_retries, programs, settings_environment
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
def test_a_prefect_server_that_went_away_is_tried_again_for_as_long_as_the_setting_says(
    seconds: float, retries: int
) -> None:
    assert prefect_retries(seconds) == retries
    assert sum(2**n for n in range(1, retries + 1)) <= seconds


def test_no_program_is_told_a_secret(tmp_path: Path) -> None:
    mine = Settings(home=tmp_path, s3_access_key="key", s3_secret_key=SecretStr("hush"))
    told = [text for p in programs(mine) for text in (*p.command, *p.environment.values())]
    assert not [text for text in told if "hush" in text]


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


def test_the_interpreter_is_named_alike_whichever_of_its_names_runs(
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

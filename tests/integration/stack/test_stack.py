"""The local stack, driven by the command line: it comes up, comes back, and goes without a trace."""

import contextlib
import os
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import uuid
from pathlib import Path

import psutil
import pytest
import requests

from infra.stack import members
from infra.stack.deployments import ROOT, declared, deployed
from infra.stack.programs import WORK_POOL
from infra.stack.supervision import Supervisor
from tasks.isolation import environment
from tasks.store.connect import connect
from tasks.store.credentials import credentials
from tests.helpers.local import LocalStack, until

PROGRAMS = {"store", "prefect", "mlflow", "model-server", "agent", "worker"}


@pytest.fixture
def kept(stack: LocalStack) -> Path:
    """Something in each server that keeps data; `assert_kept` looks for it."""
    connect(stack.settings).put("kept", b"in the store")
    mlflow = f"{stack.settings.mlflow_uri}/api/2.0"
    stack.http.post(f"{mlflow}/mlflow/experiments/create", json={"name": "kept"}, timeout=10)
    requests.put(f"{mlflow}/mlflow-artifacts/artifacts/kept.txt", data=b"a file", timeout=10).raise_for_status()
    stack.http.post(f"{stack.settings.prefect_api}/variables/", json={"name": "kept", "value": "here"}, timeout=10)
    return stack.settings.credentials_file


def assert_kept(stack: LocalStack) -> None:
    assert connect(stack.settings).get("kept") == b"in the store"
    mlflow = f"{stack.settings.mlflow_uri}/api/2.0"
    by_name = f"{mlflow}/mlflow/experiments/get-by-name"
    found = requests.get(by_name, params={"experiment_name": "kept"}, timeout=10)
    assert found.json()["experiment"]["name"] == "kept"
    assert stack.http.get(f"{mlflow}/mlflow-artifacts/artifacts/kept.txt", timeout=10).content == b"a file"
    variable = stack.http.get(f"{stack.settings.prefect_api}/variables/name/kept", timeout=10)
    assert variable.json()["value"] == "here"


def test_everything_is_ready_after_up(stack: LocalStack) -> None:
    status = stack.status()
    assert {program["name"]: program["state"] for program in status["programs"]} == dict.fromkeys(PROGRAMS, "ready")
    assert status["up"]
    pool = stack.http.get(f"{stack.settings.prefect_api}/work_pools/{WORK_POOL}", timeout=10).json()
    assert pool["type"] == "process"
    assert declared(ROOT / "prefect.yaml") == deployed(stack.settings)
    assert requests.get(f"http://127.0.0.1:{stack.settings.prefect_port}/", timeout=10).text.startswith("<!")
    connect(stack.settings).require_suitable()


def test_the_stack_at_rest_uses_less_than_2_gb(stack: LocalStack) -> None:
    assert 0 < stack.status()["memory"] < 2_000_000_000


def test_a_second_up_starts_nothing_and_changes_no_credentials(stack: LocalStack) -> None:
    before, secret = stack.pids(), stack.settings.credentials_file.read_bytes()
    said = stack.up()
    assert "Starting" not in said
    assert "Deploying" not in said
    assert stack.pids() == before
    assert stack.settings.credentials_file.read_bytes() == secret


def test_credentials_are_for_their_owner_alone(stack: LocalStack) -> None:
    for path in stack.settings.credentials_file.parent.glob("*.[ji][sn][oi]*"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    secret = str(credentials(stack.settings)[1])
    assert len(secret) >= 30
    readable = [*stack.home.glob("logs/*"), stack.home / "supervisord.conf"]
    assert not [path for path in readable if path.is_file() and secret in path.read_text(errors="replace")]


def test_files_of_mlflow_runs_lie_in_the_store(stack: LocalStack, kept: Path) -> None:
    assert connect(stack.settings).get("mlflow/kept.txt") == b"a file"


def test_doctor_finds_nothing_wrong(stack: LocalStack) -> None:
    done = stack.slipway("doctor")
    assert done.returncode == 0, done.stdout
    assert "honours create-if-absent" in done.stdout


def test_the_model_server_finds_nothing_in_its_environment_that_is_not_listed(stack: LocalStack) -> None:
    found = psutil.Process(stack.pids()["model-server"]).environ()
    assert found == environment(found)
    assert "PATH" in found


def test_doctor_names_a_misspelt_setting(stack: LocalStack) -> None:
    done = stack.slipway("doctor", SLIPWAY_REST_PRT="1")
    assert done.returncode == 1
    assert "SLIPWAY_REST_PRT is not a setting" in done.stdout
    assert "Did you mean SLIPWAY_REST_PORT?" in done.stdout


def test_every_program_comes_back_after_kill_9_with_its_data(stack: LocalStack, kept: Path) -> None:
    before, secret = stack.pids(), kept.read_bytes()
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    until(lambda: stack.status()["up"], "all programs are ready again", 150)
    after = stack.pids()
    assert after.keys() == PROGRAMS
    assert not set(after.values()) & set(before.values())
    assert_kept(stack)
    assert kept.read_bytes() == secret


def test_up_comes_back_after_kill_9_of_the_supervisor(stack: LocalStack, kept: Path) -> None:
    supervisor, before = Supervisor(stack.home).pid(), stack.pids()
    psutil.Process(supervisor).kill()
    until(lambda: not psutil.pid_exists(supervisor), "the supervisor is dead")
    assert stack.slipway_here("status").returncode == 1
    assert "it left" in stack.up()
    assert not set(before.values()) & set(stack.pids().values())
    assert not members.orphans(stack.home, Supervisor(stack.home).pid())
    assert_kept(stack)


def test_down_ends_even_a_program_that_hangs_and_up_finds_all_data_again(stack: LocalStack, kept: Path) -> None:
    os.kill(stack.pids()["model-server"], signal.SIGSTOP)
    stack.down()
    assert stack.slipway("down").stdout.startswith("The stack was not running.")
    assert stack.slipway_here("status").returncode == 1
    missed = let_runs_of_reconcile_be_missed(stack)
    assert len(missed) > 5
    stack.up()
    assert_kept(stack)
    url, body = f"{stack.settings.prefect_api}/flow_runs/filter", {"flow_runs": {"id": {"any_": missed}}}
    states = [run["state_name"] for run in stack.http.post(url, json=body, timeout=30).json()]
    assert states.count("Skipped") == len(missed) - 1


def let_runs_of_reconcile_be_missed(stack: LocalStack) -> list[str]:
    """Put the runs of it that Prefect has planned a year back, as if the stack had been down so long; their ids."""
    database = stack.settings.home / "prefect" / "prefect.db"
    planned = (
        "auto_scheduled AND state_type = 'SCHEDULED' "
        "AND deployment_id = (SELECT id FROM deployment WHERE name = 'reconcile')"
    )
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        runs = [str(uuid.UUID(run)) for (run,) in connection.execute(f"SELECT id FROM flow_run WHERE {planned}")]
        connection.execute(
            "UPDATE flow_run SET expected_start_time = datetime(expected_start_time, '-1 year'), "
            f"next_scheduled_start_time = datetime(next_scheduled_start_time, '-1 year') WHERE {planned}"
        )
    return runs


def test_of_two_ups_at_once_one_works_and_the_other_waits(stack: LocalStack) -> None:
    os.kill(stack.pids()["agent"], signal.SIGKILL)
    command = [sys.executable, "-m", "infra.cli.main", "up"]
    both = [subprocess.Popen(command, env=stack.env, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert stack.pids().keys() == PROGRAMS


def test_a_changed_setting_moves_the_program_that_it_concerns_and_no_other(stack: LocalStack) -> None:
    before, port = stack.pids(), stack.settings.agent_port + 1
    moved = stack.slipway("up", SLIPWAY_AGENT_PORT=str(port))
    assert moved.returncode == 0, moved.stderr
    assert requests.get(f"http://127.0.0.1:{port}/healthz", timeout=10).ok
    assert "settings have changed" in stack.slipway_here("status").stdout
    stack.up()
    after = stack.pids()
    assert {name for name in after if after[name] != before[name]} <= {"agent", "worker"}


def test_a_second_stack_is_told_where_the_first_one_runs(stack: LocalStack, tmp_path: Path) -> None:
    second = {"SLIPWAY_HOME": str(tmp_path / "second")}
    done = stack.slipway("up", **second)
    assert done.returncode == 1
    assert f"is in use by the stack in {stack.home}" in done.stderr
    assert f"SLIPWAY_HOME={stack.home} slipway" in done.stderr
    for command in ("status", "down"):
        assert f"A stack of yours runs in {stack.home}" in stack.slipway(command, **second).stdout
    assert stack.status()["up"]


def test_a_taken_port_is_named_with_its_holder_and_setting_before_anything_starts(tmp_path: Path) -> None:
    local = LocalStack(tmp_path / "home")
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", local.settings.rest_port))
        squatter.listen()
        done = local.slipway("up")
    assert done.returncode == 1
    assert f"Port {local.settings.rest_port} on 127.0.0.1 is in use by" in done.stderr
    assert f"(process {os.getpid()} of user" in done.stderr
    assert "SLIPWAY_REST_PORT=" in done.stderr
    assert not members.members(local.home)


def test_a_program_that_ends_at_start_is_named_with_its_last_words(tmp_path: Path) -> None:
    broken = tmp_path / "broken_model_server"
    broken.write_text("#!/bin/sh\necho this server is broken >&2\nexit 3\n")
    broken.chmod(0o755)
    elsewhere = dict.fromkeys(("SLIPWAY_S3_ENDPOINT", "SLIPWAY_MLFLOW_URL"), "http://127.0.0.1:9")
    local = LocalStack(tmp_path / "home")
    try:
        done = local.slipway("up", SLIPWAY_MODEL_SERVER=str(broken), **elsewhere)
        assert done.returncode == 1
        assert "model-server does not start" in done.stderr
        assert "this server is broken" in done.stderr
        assert "Traceback" not in done.stderr
        failing = local.slipway("status", SLIPWAY_MODEL_SERVER=str(broken), **elsewhere)
        assert "this server is broken" in failing.stdout
        local.down()
    finally:
        local.end()

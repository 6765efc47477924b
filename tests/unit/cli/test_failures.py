"""How commands fail."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import typer

from infra.cli.failures import guarded, show_tracebacks
from tasks.errors import NotFound, RolloutFailed
from tasks.settings import settings


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path))
    settings.cache_clear()
    monkeypatch.setattr("infra.cli.failures._prefect_is_away", False)
    (tmp_path / "logs").mkdir()
    yield tmp_path
    show_tracebacks(False)
    settings.cache_clear()


def code_of(error: BaseException) -> int:
    @guarded
    def fail() -> None:
        raise error

    with pytest.raises(typer.Exit) as ended:
        fail()
    return ended.value.exit_code


def test_an_error_of_the_tree_is_one_message_and_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of(NotFound("There is no model 'X'.")) == 1
    assert capsys.readouterr().err == "slipway: There is no model 'X'.\n"


def test_an_unforeseen_error_is_one_line_that_names_the_file_with_the_traceback(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert code_of(KeyError("missing\nkey")) == 1
    (kept,) = home.glob("logs/*.traceback")
    assert capsys.readouterr().err.count("\n") == 1
    assert "Traceback (most recent call last)" in kept.read_text()


def test_an_unforeseen_error_names_its_file(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code_of(ValueError("odd"))
    (kept,) = home.glob("logs/*.traceback")
    assert f"unforeseen ValueError: odd. The traceback is in {kept}" in capsys.readouterr().err


def test_a_prefect_server_that_goes_away_is_one_message(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of(httpx.ConnectError("[Errno 111] Connection refused")) == 1
    said = capsys.readouterr().err
    assert said.startswith(
        "slipway: The Prefect server at http://127.0.0.1:4200/api does not answer any more (ConnectErr"
    )
    assert "`slipway reconcile`" in said
    assert said.count("\n") == 1


def test_what_a_run_failed_of_is_told_before_that_prefect_could_not_be_told(capsys: pytest.CaptureFixture[str]) -> None:
    @guarded
    def fail() -> None:
        try:
            raise RolloutFailed("The rollout of MLP version 7 was aborted.")
        except RolloutFailed:
            raise httpx.ReadTimeout("")  # noqa: B904 - as Prefect's engine does

    with pytest.raises(typer.Exit):
        fail()
    assert capsys.readouterr().err.startswith(
        "slipway: The rollout of MLP version 7 was aborted. And the Prefect server at http"
    )


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    show_tracebacks(True)
    code_of(NotFound("gone"))
    assert "Traceback" in capsys.readouterr().err


def test_debug_is_a_setting_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("SLIPWAY_DEBUG", "1")
    settings.cache_clear()
    code_of(NotFound("gone"))
    assert "Traceback" in capsys.readouterr().err


def test_an_error_is_told_even_where_the_settings_are_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SLIPWAY_REST_PORT", "many")
    settings.cache_clear()
    assert code_of(RuntimeError("odd")) == 1
    assert "unforeseen RuntimeError: odd" in capsys.readouterr().err


def test_ctrl_c_ends_with_130_and_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of(KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == "slipway: interrupted\n"


def test_exit_codes_of_commands_pass_unchanged() -> None:
    assert code_of(typer.Exit(3)) == 3


def test_a_reader_that_has_seen_enough_causes_no_traceback() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as nobody_reads:
        done = subprocess.run(
            [sys.executable, "-m", "infra.cli.main", "doctor"], stdout=nobody_reads, stderr=subprocess.PIPE, timeout=60
        )
    assert b"Traceback" not in done.stderr
    assert b"Exception" not in done.stderr


def test_a_setting_of_an_impossible_value_is_named() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "infra.cli.main", "status"],
        env=os.environ | {"SLIPWAY_REST_PORT": "many"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "SLIPWAY_REST_PORT='many'" in done.stderr
    assert "Traceback" not in done.stderr

"""What doctor finds, and what it advises."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from infra.cli import doctor
from infra.stack.secrets import ensure_credentials
from tasks.isolation import landlock_version
from tasks.settings import Settings, unknown_variables


@pytest.mark.parametrize(
    ("version", "state"), [(("3", "10", "1"), "wrong"), (("3", "11", "0"), "ok"), (("3", "14", "0"), "wrong")]
)
def test_only_pythons_that_tensorflow_exists_for_are_right(version: tuple[str, str, str], state: str) -> None:
    assert doctor.python_version(version).state == state


def test_a_package_outside_its_range_is_named_with_the_range() -> None:
    installed = {"fastapi": "0.165.0", "numpy": "2.1"}
    found = doctor.packages(["fastapi>=0.139,<0.151", "numpy>=2", "gone", "extra; extra == 'dev'"], installed.get)
    assert found.state == "wrong"
    assert found.found == "fastapi 0.165.0 (needed: <0.151,>=0.139); gone is missing (needed: )"
    assert doctor.packages(["numpy>=2"], installed.get).state == "ok"


def test_a_misspelt_variable_is_answered_with_the_setting_that_was_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPWAY_GRPC_PRT", "1")
    monkeypatch.setenv("SLIPWAY_XQZ", "1")
    found = list(doctor.variables(unknown_variables()))
    assert [(f.state, f.found) for f in found if "GRPC" in f.found or "XQZ" in f.found] == [
        ("wrong", "SLIPWAY_GRPC_PRT is not a setting"),
        ("wrong", "SLIPWAY_XQZ is not a setting"),
    ]
    assert "Did you mean SLIPWAY_GRPC_PORT?" in found[0].advice


def test_variables_that_are_settings_are_all_right() -> None:
    assert [finding.state for finding in doctor.variables({})] == ["ok"]


def test_too_little_memory_is_a_warning_only_where_the_stack_must_still_start() -> None:
    assert doctor.memory(1_000_000_000, up=False).state == "warning"
    assert doctor.memory(1_000_000_000, up=True).state == "ok"


def test_credentials_that_others_may_read_are_wrong(tmp_path: Path) -> None:
    mine = Settings(home=tmp_path)
    assert doctor.credentials(mine).state == "off"
    ensure_credentials(mine)
    assert doctor.credentials(mine).state == "ok"
    mine.credentials_file.chmod(0o644)
    found = doctor.credentials(mine)
    assert (found.state, found.advice) == ("wrong", f"chmod 600 {mine.credentials_file}")


def test_a_stack_that_is_down_is_right_and_a_silent_server_elsewhere_is_wrong(tmp_path: Path) -> None:
    nobody = "http://127.0.0.1:9"
    assert doctor.server("mlflow", nobody, "/version", None, False, {}).state == "off"
    assert doctor.server("mlflow", nobody, "/version", nobody, False, {}).state == "wrong"
    assert doctor.store(Settings(home=tmp_path), up=False).state == "off"
    elsewhere = Settings(
        home=tmp_path, s3_endpoint=nobody, s3_access_key="a", s3_secret_key=SecretStr("b"), call_deadline=0.5
    )
    assert doctor.store(elsewhere, up=False).state == "wrong"


@pytest.mark.parametrize(
    ("view", "state"),
    [
        (doctor.ModelsView(7, 61000, ()), "ok"),
        (doctor.ModelsView(7, 0, ()), "warning"),
        (doctor.ModelsView(0, 1000, ("/key",)), "warning"),
        (doctor.ModelsView(7, 1000, ("/key",)), "wrong"),
    ],
)
def test_what_a_model_could_read_is_said(view: doctor.ModelsView, state: str) -> None:
    assert doctor.isolation(view).state == state


@pytest.mark.skipif(landlock_version() == 0, reason="this kernel offers no Landlock")
def test_a_key_among_the_models_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("keys/signing.pem", "models/signing.pem"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("key")
    assert doctor.models_view(Settings(home=tmp_path)).reads == ()
    astray = Settings(home=tmp_path, models_dir=tmp_path / "models", signing_key=tmp_path / "models" / "signing.pem")
    assert doctor.models_view(astray).reads == (str(tmp_path / "models" / "signing.pem"),)

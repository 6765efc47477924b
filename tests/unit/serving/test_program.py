"""Which program serves models."""

from pathlib import Path

import pytest

from tasks.errors import InvalidSettings
from tasks.serving.program import EMBEDDED, model_server_command
from tasks.settings import Settings


def test_auto_takes_a_tensorflow_model_server_from_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert model_server_command(Settings(model_server="auto")) == EMBEDDED
    binary = tmp_path / "tensorflow_model_server"
    binary.write_text("")
    binary.chmod(0o755)
    assert model_server_command(Settings(model_server="auto")) == (str(binary),)
    assert model_server_command(Settings(model_server="embedded")) == EMBEDDED


def test_a_model_server_that_cannot_be_run_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not a program")
    for choice in (str(text), str(tmp_path / "missing")):
        with pytest.raises(InvalidSettings, match="SLIPWAY_MODEL_SERVER="):
            model_server_command(Settings(model_server=choice))

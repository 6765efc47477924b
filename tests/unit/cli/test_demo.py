"""What the demo tells its reader to type next."""

import os
from pathlib import Path

import pytest

from infra.cli.demo import own_name


def test_the_demo_names_a_command_that_the_readers_shell_finds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert os.access(own_name(), os.X_OK)
    assert Path(own_name()).is_absolute()
    (tmp_path / "slipway").touch(0o755)
    assert own_name() == "slipway"

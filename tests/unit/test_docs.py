"""What can be set, run or deployed is documented."""

from pathlib import Path

import pytest
import yaml

from infra.cli.main import COMMANDS
from tasks.settings import Settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_is_in_the_readme(command: str) -> None:
    assert f"`slipway {command}" in README or f"`{command}`" in README


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_is_documented_with_what_it_does(name: str) -> None:
    rows = [line for line in (ROOT / "docs" / "settings.md").read_text().splitlines() if line.startswith("| `SLIPWAY_")]
    (row,) = [line for line in rows if line.startswith(f"| `SLIPWAY_{name.upper()}` |")]
    description = Settings.model_fields[name].description
    assert description is not None
    assert description in row


@pytest.mark.parametrize(
    "name", [d["name"] for d in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]]
)
def test_every_deployment_is_in_the_readme(name: str) -> None:
    assert f"`{name}`" in README


@pytest.mark.parametrize("target", ["demo", "test", "lint", "up", "down", "status", "logs", "bench"])
def test_every_make_target_is_in_the_readme(target: str) -> None:
    assert f"make {target}" in README

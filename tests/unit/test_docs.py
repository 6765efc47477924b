"""What can be set, run or deployed is documented."""

import re
import tomllib
from datetime import date
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


def test_the_version_is_the_newest_that_the_changelog_dates() -> None:
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "Unreleased"
    version, day = headings[1].split(" - ")
    assert version == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert date.fromisoformat(day)


PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_to_a_file_leads_to_one(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []

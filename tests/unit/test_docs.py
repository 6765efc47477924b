"""What can be set, run or deployed is documented, and each command that the documents give is one that can be run.

What needs a stack is run with one, as it stands: tests/integration/test_delivery.py.
"""

import json
import re
import shlex
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import pytest
import typer
import yaml
from google.protobuf import text_format

from infra.cli.main import COMMANDS, application
from infra.modelserver import flags
from tasks.policy import Policy, flat, origin
from tasks.settings import Settings
from tasks.wire.protos import ModelServerConfig

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


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


def test_every_value_of_a_policy_is_documented_with_its_default_and_setting() -> None:
    text, unset = (ROOT / "docs" / "policy.md").read_text(), Settings.model_construct()
    every = Settings.model_construct(set(Settings.model_fields))
    rows = [[cell.strip(" `") for cell in line.split("|")[1:4]] for line in text.splitlines() if line.startswith("| `")]
    expected = flat(Policy.of(unset).values())
    assert {name: default for name, default, _ in rows} == {name: str(value) for name, value in expected.items()}
    assert {name: setting or "default" for name, _, setting in rows} == {n: origin(n, every) for n in expected}


@pytest.mark.parametrize(
    "name", [d["name"] for d in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]]
)
def test_every_deployment_is_in_the_readme(name: str) -> None:
    assert f"`{name}`" in README


@pytest.mark.parametrize("target", ["demo", "test", "soak", "cover", "lint", "up", "down", "status", "logs", "bench"])
def test_every_make_target_is_in_the_readme(target: str) -> None:
    assert f"make {target}" in README


def test_the_version_is_the_newest_that_the_changelog_dates() -> None:
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "Unreleased"
    version, day = headings[1].split(" - ")
    assert version == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert date.fromisoformat(day)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_to_a_file_leads_to_one(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_every_module_that_a_page_names_exists(page: str) -> None:
    named = re.findall(r"`([a-z_]+/(?:[a-z_]+/?)*(?:\.py)?)`", (ROOT / page).read_text())
    assert named
    places = [ROOT, ROOT / "tasks", ROOT / "infra" / "modelserver"]
    missing = {name for name in named if not any(exists(place / name) for place in places)}
    assert missing <= {"dist/"}  # made by a build


def exists(place: Path) -> bool:
    """A file, a folder, or a module whose name is given without `.py`."""
    return place.exists() or place.with_suffix(".py").exists()


def test_the_floors_are_those_that_the_import_linter_checks() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    rows = [line.split("|")[2] for line in text.splitlines() if re.match(r"\|[^|]+\|[^|]*`tasks/", line)]
    floors = [set(re.findall(r"`(?:tasks/)?(\w+)`", row)) for row in rows]
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract["id"] == "floors"]
    assert floors == [set(re.findall(r"\w+", layer)) for layer in layers]


def commands() -> Iterator[tuple[str, str]]:
    """Each command of each block of the documents that is for a shell, with the page that it stands on."""
    for page in PAGES:
        for language, block in re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE):
            if language in ("", "sh", "bash", "console"):
                for line in block.replace("\\\n", " ").splitlines():
                    yield from ((page.name, part.strip()) for part in line.split(" && ") if part.strip())


def parses(words: list[str]) -> None:
    """The command line takes these arguments."""
    group = typer.main.get_command(application(words))
    assert isinstance(group, typer.core.TyperGroup)
    with group.make_context("slipway", words) as context:
        name, command, rest = group.resolve_command(context, [*context._protected_args, *context.args])
        assert command is not None
        command.make_context(name, rest, parent=context)


def makes(words: list[str]) -> None:
    """The Makefile has this target."""
    subprocess.run(["make", "--dry-run", *words], cwd=ROOT, check=True, capture_output=True)


def sets(words: list[str]) -> None:
    """Every variable is a setting, and takes this value."""
    given = dict(word.split("=", 1) for word in words)
    Settings(**{name.removeprefix("SLIPWAY_").lower(): value for name, value in given.items()})  # type: ignore[arg-type]


def serves(words: list[str]) -> None:
    """A model server takes these flags, and knows what each means."""
    found, warnings = flags.parse([word for word in words if word != "&"])
    flags.check(found)
    assert not warnings


def is_installed(words: list[str]) -> None:
    """It is a program of ours that needs no argument."""
    assert not words
    assert "slipway-agent" in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]


def runs_a_script(words: list[str]) -> None:
    """It is one that its page shows: tests/integration/tutorials runs them."""
    assert len(words) == 1
    assert any(f"```python\n# {words[0]}\n" in page.read_text() for page in PAGES)


def writes_config(words: list[str]) -> None:
    """What is written is a config for model servers."""
    text_format.Parse(words[0].replace("\\n", "\n"), ModelServerConfig())


# Run as they stand, with a stack: tests/integration/stack/test_fleet_commands.py.
AUTOMATING = ["deployment inspect prune/prune", "automation create --from-file prune-when-accepted.yaml"]


def emits_or_automates(words: list[str]) -> None:
    """It begins a release of the demo's model, on data that needs no file of the reader's; or a test runs it."""
    if " ".join(words) in AUTOMATING:
        return
    *event, payload = words
    resource = ["--resource-id", "slipway.dataset.digits"]
    assert event == ["event", "emit", "slipway.dataset.updated", *resource, "--payload"]
    assert json.loads(payload) == {"data": "mnist-5k"}


CHECKS: dict[str, Callable[[list[str]], object]] = {
    "slipway": parses,
    "make": makes,
    "export": sets,
    "tensorflow_model_server": serves,
    "slipway-agent": is_installed,
    "printf": writes_config,
    "python": runs_a_script,
    "prefect": emits_or_automates,
    "git": lambda words: words[0] == "clone",
    "cd": lambda words: words == ["slipway"],
}


@pytest.mark.parametrize(("page", "line"), sorted(set(commands())))
def test_every_command_in_the_documents_is_one_that_can_be_run(page: str, line: str) -> None:
    program, *words = shlex.split(line, comments=True)
    assert program in CHECKS, f"{page}: no test knows {program}"
    CHECKS[program](words)

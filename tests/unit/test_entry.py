"""Slipway's programs find Slipway's packages, whatever a user's own are called."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from slipway_entry import PACKAGES, ROOT
from tasks.serving.program import EMBEDDED

PYTHON = [sys.executable, "-P"]


@pytest.fixture(params=["packages", "modules"])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A user's project whose modules have the names of Slipway's packages."""
    for name in PACKAGES:
        if request.param == "packages":
            (tmp_path / name).mkdir()
            (tmp_path / name / "__init__.py").write_text("")
        else:
            (tmp_path / f"{name}.py").write_text("")
    (tmp_path / "shop.py").write_text("")
    return tmp_path


def run(project: Path, *command: str) -> str:
    done = subprocess.run(
        command, cwd=project, env=os.environ | {"PYTHONPATH": "."}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_command_is_slipways(project: Path) -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {name: f"slipway_entry:{name.replace('-', '_')}" for name in scripts}
    call = "import sys, slipway_entry; sys.argv[1:] = ['--help']; sys.exit(slipway_entry.{}())"
    assert "release" in run(project, *PYTHON, "-c", call.format("slipway"))
    assert "--rest_api_port" in run(project, *PYTHON, "-c", call.format("slipway_model_server"))


def test_so_are_the_programs_that_it_starts(project: Path) -> None:
    assert "--rest_api_port" in run(project, *EMBEDDED, "--help")
    assert (
        run(project, *PYTHON, "-m", "slipway_entry", "infra.stack.takeover", ".", "9", "PATH", "/bin/echo", "here")
        == "here\n"
    )


def test_so_are_the_flows_of_every_deployment(project: Path) -> None:
    declared = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    names = [deployment["entrypoint"] for deployment in declared]
    load = (
        "import sys; from prefect.flows import load_flow_from_entrypoint as load\n"
        "for name in sys.argv[1:]: print(load(name).name, load(name).fn.__code__.co_filename)"
    )
    found = run(project, *PYTHON, "-c", load, *names).splitlines()
    assert [line.split() for line in found] == [
        [deployment["name"], str(ROOT / "flows" / Path(line).name)]
        for deployment, line in zip(declared, found, strict=True)
    ]


def test_the_users_other_modules_are_still_theirs(project: Path) -> None:
    show = "import slipway_entry, shop, tasks; print(shop.__file__, tasks.__file__)"
    assert run(project, *PYTHON, "-c", show).split() == [str(project / "shop.py"), str(ROOT / "tasks" / "__init__.py")]

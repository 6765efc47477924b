"""The wheel, as somebody has it who installs Slipway beside a project of their own."""

import json
import os
import sys
import zipfile
from pathlib import Path

import pytest

from tests.helpers.installed import ROOT, build_wheel, install, run
from tests.helpers.local import OTHER_PORTS, STORE_PORTS, free_ports


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of a new venv that holds the wheel, and to which this one's libraries are lent; not the repository."""
    return install(tmp_path_factory.mktemp("venv"), wheel)


@pytest.fixture(scope="module", params=["an empty folder", "a project with a tasks.py and flows of its own"])
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    if request.param != "an empty folder":
        for module in ("tasks.py", "flows/__init__.py", "infra/__init__.py"):
            (folder / module).parent.mkdir(exist_ok=True)
            (folder / module).write_text("raise SystemExit('the module of the project was imported')\n")
    return folder


def test_it_holds_licence_deployments_types_and_nothing_but_the_product(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        assert archive.read("infra/stack/prefect.yaml") == (ROOT / "prefect.yaml").read_bytes()
    (info,) = {name.split("/")[0] for name in names if ".dist-info/" in name}
    assert f"{info}/licenses/LICENSE" in names
    packages = {name.split("/")[0] for name in names} - {info}
    assert packages == {"flows", "tasks", "infra", "slipway_entry"}
    assert {f"{package}/py.typed" for package in packages} <= set(names)


def test_the_venv_finds_the_wheel_and_not_the_repository(programs: Path, tmp_path: Path) -> None:
    found = run(programs / "python", "-P", "-c", "import tasks, yaml; print(tasks.__file__)", cwd=tmp_path)
    assert Path(found.strip()).is_relative_to(programs.parent)


@pytest.mark.parametrize("path", ["", "."])
def test_slipway_lists_its_commands(programs: Path, project: Path, path: str) -> None:
    assert "  release " in run(programs / "slipway", "--help", cwd=project, PYTHONPATH=path)


@pytest.mark.parametrize("path", ["", "."])
def test_doctor_finds_nothing_wrong(programs: Path, project: Path, path: str) -> None:
    ports = {f"SLIPWAY_{name.upper()}": str(port) for name, port in free_ports((*STORE_PORTS, *OTHER_PORTS)).items()}
    # The store's own program lies beside the libraries that are lent.
    search = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    printed = run(programs / "slipway", "doctor", "--json", cwd=project, PYTHONPATH=path, PATH=search, **ports)
    found = {finding["check"]: finding["state"] for finding in json.loads(printed)}
    assert found["packages"] == found["settings"] == "ok"

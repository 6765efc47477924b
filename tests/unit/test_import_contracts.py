"""The arrows between packages: each contract of pyproject.toml is broken once, and `lint-imports` says so."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
# For each contract a module that breaks it, and what it imports.
BREACHES = {
    "top": ("tasks/breach_top.py", "import flows.release"),
    "flows": ("infra/stack/breach_flows.py", "import flows.release"),
    "agent": ("infra/agent/breach_agent.py", "import infra.stack.ports"),
    "floors": ("tasks/store/breach_floors.py", "import tasks.delivery.rollout"),
    "circles": ("infra/stack/breach_circles.py", "import infra.cli.main"),
    "modelserver": ("infra/modelserver/breach_modelserver.py", "import tasks.names"),
    "wire": ("tasks/wire/breach_wire.py", "import tasks.names"),
    "prefect": ("tasks/delivery/breach_prefect.py", "import prefect"),
    "mlflow": ("tasks/delivery/breach_mlflow.py", "import mlflow"),
    "boto3": ("tasks/versions/breach_boto3.py", "import boto3"),
    "tensorflow": ("tasks/evaluation/breach_tensorflow.py", "import tensorflow"),
    "matplotlib": ("tasks/reports/breach_matplotlib.py", "import matplotlib"),
}


@pytest.fixture(scope="module")
def linted(tmp_path_factory: pytest.TempPathFactory) -> "subprocess.CompletedProcess[str]":
    """What `lint-imports` says of a copy in which every contract is broken."""
    copy = tmp_path_factory.mktemp("copy")
    for package in ("flows", "tasks", "infra"):
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    for path, line in BREACHES.values():
        (copy / path).write_text(f"{line}\n")
    program = Path(sys.prefix) / "bin" / "lint-imports"
    return subprocess.run([program, "--no-cache"], cwd=copy, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize(("package", "may"), [("flows", True), ("infra/cli", True), ("tasks/versions", False)])
def test_only_flows_and_programs_read_the_environment(package: str, may: bool) -> None:
    ruff = str(Path(sys.prefix) / "bin" / "ruff")
    command = [ruff, "check", "--no-cache", f"--stdin-filename={package}/breach.py", "-"]
    source = "from tasks.settings import settings\n\nFLEET = settings().fleet\n"
    done = subprocess.run(command, cwd=ROOT, input=source, capture_output=True, text=True, timeout=60)
    assert ("TID251" in done.stdout) is not may, done.stdout + done.stderr


def test_every_contract_is_broken_once() -> None:
    assert BREACHES.keys() == {contract["id"] for contract in CONTRACTS}


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract["id"])
def test_a_broken_contract_is_told(contract: dict[str, str], linted: "subprocess.CompletedProcess[str]") -> None:
    assert linted.returncode != 0
    said = " ".join(linted.stdout.split())
    assert f"{contract['name']} BROKEN" in said, linted.stdout[-3000:]

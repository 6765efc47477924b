"""Releases from a user's own Python, as the page on it says: in a script and a notebook, with a server and without."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbclient
import nbformat
import pytest

from tests.helpers.installed import ROOT
from tests.helpers.local import LocalStack

pytestmark = [pytest.mark.soak, pytest.mark.timeout(900)]

PYTHON = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
RELEASES, FAILS = PYTHON.findall((ROOT / "docs" / "how-to" / "run-from-python.md").read_text())


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with the recipe and the data of the tutorial on mixed tables."""
    for block in PYTHON.findall((ROOT / "docs" / "tutorials" / "mixed-table.md").read_text()):
        (tmp_path / block.split()[1]).write_text(block)
    subprocess.run([sys.executable, "make_data.py"], cwd=tmp_path, check=True, timeout=60)
    return tmp_path


def run(script: str, project: Path, env: dict[str, str]) -> str:
    """What a script in the project's folder prints, which must succeed."""
    (project / "script.py").write_text(script)
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=project,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def is_a_line_for_each_step(printed: str) -> bool:
    """Not one for each epoch, nor TensorFlow's own; what a temporary Prefect server complains of does not count."""
    told = [line for line in printed.splitlines() if "| INFO " in line]
    return len(told) < 60 and not re.search(r"epoch|node_def_util|cudart_stub|absl::", printed, re.IGNORECASE)


def test_a_script_releases_and_is_told_why_nothing_is_new_and_what_is_wrong(stack: LocalStack, project: Path) -> None:
    printed = run(RELEASES, project, stack.env)
    assert "Retention version 1 is accepted and serves." in printed
    assert f"View at http://127.0.0.1:{stack.settings.prefect_port}/" in printed
    assert is_a_line_for_each_step(printed)
    quiet = stack.env | {"PREFECT_LOGGING_LEVEL": "WARNING"}
    assert run(RELEASES, project, quiet).startswith("Nothing new: version 1 was made from the same data")
    failing = RELEASES.partition("\n")[0] + "\n" + FAILS  # the import, which a notebook has made by then
    assert run(failing, project, quiet).splitlines()[-1].startswith("No data at 'nowhere.csv': expected ")


def test_without_a_prefect_server_the_run_has_one_for_a_while(stack: LocalStack, project: Path) -> None:
    env = {name: value for name, value in stack.env.items() if not name.startswith("PREFECT_")}
    env["PREFECT_HOME"] = str(project / "prefect")
    env["PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"] = "120"  # it starts beside other tests
    printed = run(RELEASES.replace("Retention", "Serverless"), project, env)
    assert "Serverless version 1 is accepted and serves." in printed
    assert "Stopping temporary server" in printed
    assert is_a_line_for_each_step(printed)


def test_a_notebook_releases(stack: LocalStack, project: Path) -> None:
    sources = (RELEASES.replace("Retention", "Noted"), FAILS)
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    notebook = nbformat.v4.new_notebook(cells=cells)
    where = {"metadata": {"path": str(project)}}
    nbclient.NotebookClient(notebook, timeout=400, resources=where).execute(env=os.environ | stack.env)
    released, failed = ("".join(o.get("text", "") for o in cell.outputs) for cell in notebook.cells)
    assert "Noted version 1 is accepted and serves." in released
    assert is_a_line_for_each_step(released)
    assert "No data at 'nowhere.csv': expected " in failed
    assert "Traceback" not in failed

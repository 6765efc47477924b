"""What `infra/install.sh` decides, with interpreters that only note what is asked of them."""

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "infra" / "install.sh"
# Answers the script's questions about its version and modules; makes a venv of itself; notes every call of pip.
INTERPRETER = """#!/bin/bash
root=$(dirname "$(readlink -f "$0")")
case "$*" in
  *"sys.exit(not"*) exit "${WRONG_VERSION:-0}" ;;
  *"%d.%d"*) echo 3.11 ;;
  *"import venv"*) exit "${NO_VENV:-0}" ;;
  "-m venv "*) mkdir -p "$3/bin"; ln -s "$root/python3" "$3/bin/python"; echo "venv" >> "$root/calls" ;;
  *pip*) echo "pip ${*: -1}" >> "$root/calls"; [ ! -e "$root/cut-off" ] || kill -9 $PPID ;;
esac
"""


class Checkout:
    """A project folder with the script, a lock, and a folder of programs that is the whole PATH."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "project"
        (self.root / "infra").mkdir(parents=True)
        shutil.copy(SCRIPT, self.root / "infra")
        (self.root / "requirements.lock").write_text("one\n")
        (self.root / "pyproject.toml").write_text("")
        self.programs = folder / "programs"
        self.programs.mkdir()
        for name in (
            "bash",
            "cat",
            "cut",
            "dirname",
            "flock",
            "ln",
            "mkdir",
            "mv",
            "readlink",
            "rm",
            "sha256sum",
            "touch",
        ):
            found = shutil.which(name)
            assert found
            (self.programs / name).symlink_to(found)
        (self.programs / "python3").write_text(INTERPRETER)
        (self.programs / "python3").chmod(0o755)

    def install(self, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.root / "infra" / "install.sh"],
            env={"PATH": str(self.programs), **env},
            capture_output=True,
            text=True,
            timeout=30,
        )

    def calls(self) -> list[str]:
        """What was asked of the interpreter since the last look."""
        path = self.programs / "calls"
        calls = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return calls


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


ALL = ["venv", "pip requirements.lock", "pip ."]


def test_a_fresh_checkout_gets_its_venv_with_the_lock_and_the_project(checkout: Checkout) -> None:
    done = checkout.install()
    assert done.returncode == 0, done.stderr
    assert "some minutes" in done.stdout
    assert checkout.calls() == ALL


def test_what_was_finished_is_not_done_again(checkout: Checkout) -> None:
    checkout.install()
    checkout.calls()
    done = checkout.install()
    assert (done.returncode, done.stdout, checkout.calls()) == (0, "", [])


def test_a_changed_lock_is_installed_into_the_same_venv(checkout: Checkout) -> None:
    checkout.install()
    checkout.calls()
    (checkout.root / "requirements.lock").write_text("two\n")
    assert checkout.install().returncode == 0
    assert checkout.calls() == ALL[1:]


def test_an_installation_that_was_cut_off_is_done_anew(checkout: Checkout) -> None:
    mark = checkout.programs / "cut-off"
    mark.touch()
    assert checkout.install().returncode != 0
    mark.unlink()
    checkout.calls()
    done = checkout.install()
    assert done.returncode == 0, done.stderr
    assert "cut off" in done.stdout
    assert checkout.calls() == ALL


def test_a_project_that_was_moved_gets_a_new_venv(checkout: Checkout) -> None:
    checkout.install()
    checkout.calls()
    checkout.root = checkout.root.rename(checkout.root.with_name("moved"))
    assert checkout.install().returncode == 0
    assert checkout.calls() == ALL


def test_no_fitting_python_is_said_with_what_to_do(checkout: Checkout) -> None:
    done = checkout.install(WRONG_VERSION="1")
    assert done.returncode == 1
    assert "Python 3.11, 3.12 or 3.13 is needed" in done.stderr
    assert "apt install python3.11" in done.stderr
    assert checkout.calls() == []


def test_a_python_without_venv_is_said_with_the_package_to_install(checkout: Checkout) -> None:
    done = checkout.install(NO_VENV="1")
    assert done.returncode == 1
    assert "apt install python3.11-venv" in done.stderr
    assert checkout.calls() == []

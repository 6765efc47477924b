"""Slipway as one has it who installs its wheel beside a project: in a venv, without the repository."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(*command: str | Path, cwd: Path, **env: str) -> str:
    """What a command prints, which must succeed, in an environment without this process's PYTHON… and SLIPWAY_…."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("SLIPWAY_", "PYTHON"))}
    done = subprocess.run(
        command, cwd=cwd, env=inherited | env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build_wheel(folder: Path) -> Path:
    """Slipway's wheel, built into `folder`."""
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    (built,) = folder.glob("slipway-*.whl")
    return built


def install(home: Path, *what: str | Path) -> Path:
    """The `bin` of a new venv in `home` that holds this, and to which this one's libraries are lent.

    Args:
        what: arguments of `pip install`: wheels, folders. Nothing is downloaded.
    """
    venv.create(home)
    (packages,) = home.glob("lib/python*/site-packages")
    # Python reads no .pth file in a folder that a .pth names, so the one that names the repository has no effect.
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", home / "bin" / "python")
    run(*pip, "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation", *what, cwd=home)
    return home / "bin"

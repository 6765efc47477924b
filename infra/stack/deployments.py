"""The flows' deployments: the local Prefect server gets what prefect.yaml declares."""

import hashlib
import os
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from infra.stack import probes
from infra.stack.login import authorization
from infra.stack.logs import last_lines
from infra.stack.programs import PYTHON, flow_environment
from tasks.errors import StackError
from tasks.settings import Settings

ROOT = Path(__file__).parents[2]  # the folder of Slipway's packages: the repository, or site-packages
DECLARATION = Path(__file__).with_name("prefect.yaml")  # a link to the repository's; in the wheel, a file
_SECONDS = 180.0
_PATIENCE = 20.0  # seconds that the server may take to list what it was given


def deploy(settings: Settings, say: Callable[[str], None]) -> bool:
    """Deploy what prefect.yaml declares if it, or a flow, has changed or is missing there; whether that was needed.

    Raises:
        StackError: Prefect refused it; its own message is in the error.
    """
    mark = settings.home / "prefect" / "deployed"
    # The fleet is the default of flows and of their forms.
    digest = f"{fingerprint([DECLARATION, *sorted((ROOT / 'flows').rglob('*.py'))])} {settings.fleet}"
    if mark.exists() and mark.read_text() == digest and declared(DECLARATION) <= deployed(settings):
        return False
    say("Deploying the flows")
    done = subprocess.run(
        [PYTHON, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(DECLARATION)],
        cwd=ROOT,
        env=os.environ | flow_environment(settings),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    log = settings.home / "logs" / "deploy.log"
    log.write_text(done.stdout + done.stderr)
    missing = _missing(DECLARATION, settings) if done.returncode == 0 else set()
    if done.returncode != 0 or missing:
        raise StackError(
            f"The flows in {DECLARATION} could not be deployed{f' (missing: {sorted(missing)})' if missing else ''}: "
            f"{last_lines(log, 1).strip()} All that Prefect said is in {log.absolute()}."
        )
    mark.write_text(digest)
    return True


def _missing(declaration: Path, settings: Settings) -> set[str]:
    """Deployments that are declared but that the server does not have, even after a while: it may be busy."""
    end = time.monotonic() + _PATIENCE
    while True:
        missing = declared(declaration) - deployed(settings)
        if not missing or time.monotonic() > end:
            return missing
        time.sleep(0.5)


def fingerprint(files: Iterable[Path]) -> str:
    """A hash over files: those that decide how the flows are deployed."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def declared(declaration: Path) -> set[str]:
    """Names of the deployments that a prefect.yaml declares."""
    import yaml

    content = yaml.safe_load(declaration.read_text()) or {}
    return {deployment["name"] for deployment in content.get("deployments") or []}


def deployed(settings: Settings) -> set[str]:
    """Names of the deployments that the server has; none if it does not answer."""
    found = probes.post_json(f"{settings.prefect_api}/deployments/filter", {}, authorization(settings))
    return {deployment["name"] for deployment in found or []}

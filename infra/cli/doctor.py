"""The command `doctor`: whether this machine can run Slipway, and whether the servers that it uses can be reached."""

import platform
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

import psutil
import typer

from infra.browsers import is_loopback
from infra.cli.help import example
from infra.cli.options import Json
from infra.cli.output import print_json
from infra.stack import members, probes
from infra.stack.login import authorization
from infra.stack.ports import require_distinct, require_free
from infra.stack.programs import PYTHON, programs
from infra.stack.reach import reach, require_log_in
from infra.stack.supervision import Supervisor
from tasks.errors import InvalidSettings, SlipwayError, StackError
from tasks.isolation import isolated, landlock_version
from tasks.reports.figures import size
from tasks.serving.program import EMBEDDED, model_server_command
from tasks.settings import Settings, settings, unknown_variables
from tasks.versions import signing

STACK_MEMORY = 2_000_000_000  # bytes that the stack may use at rest
_DISK_LEAST, _DISK_EASY = 1_000_000_000, 5_000_000_000  # bytes

_TRY_SECONDS = 60.0
_TRY = """
import os, sys
print(os.geteuid())
for path in sys.argv[1:]:
    try:
        open(path).close()
        print(path)
    except OSError:
        pass
"""

State = Literal["ok", "warning", "wrong", "off"]


@dataclass(frozen=True)
class Finding:
    """What one check found, and what to do about it."""

    check: str
    state: State  # off: belongs to the local stack, which does not run
    found: str
    advice: str = ""


@example("slipway doctor")
def doctor(as_json: Json = False) -> None:
    """Check this machine, the settings and everything that Slipway talks to; exit code 1 if something is wrong."""
    findings = list(examine())
    if as_json:
        print_json(findings)
    else:
        for finding in findings:
            print(f"{finding.state:8}{finding.check:14}{finding.found}")
            if finding.advice:
                print(f"{'':22}-> {finding.advice}")
    raise typer.Exit(1 if any(finding.state == "wrong" for finding in findings) else 0)


def examine() -> Iterator[Finding]:
    """All findings, in the order of the checks."""
    yield python_version(platform.python_version_tuple())
    yield packages(metadata.requires("slipway") or [], installed_version)
    yield from variables(unknown_variables())
    try:
        mine = settings()
        programs(mine)
        up = Supervisor(mine.home).answers()
    except InvalidSettings as error:
        yield Finding("settings", "wrong", str(error))
        return
    yield disk(mine)
    yield memory(psutil.virtual_memory().available, up)
    yield reached(mine)
    yield ports(mine)
    yield credentials(mine)
    yield from signatures(mine)
    if mine.servers_without_agents:
        yield from servers_without_agents(mine)
    else:
        yield model_server(mine, up)
        yield agent(mine, up)
    try:
        yield isolation(models_view(mine))
    except SlipwayError as error:
        yield Finding("isolation", "wrong", str(error))
    found = store(mine, up)
    yield found
    if found.state == "ok":
        yield from objects(mine)
    yield server("prefect", mine.prefect_api, "/admin/version", mine.prefect_url, up, authorization(mine))
    yield server("mlflow", mine.mlflow_uri, "/version", mine.mlflow_url, up, {})


def signatures(mine: Settings) -> Iterator[Finding]:
    """Whether only versions that were signed here are served."""
    found = signing.warnings(mine)
    for text in found:
        yield Finding("signing", "warning", text)
    if not found:
        yield Finding("signing", "ok", f"versions are signed with {mine.private_key}")


def python_version(version: tuple[str, str, str]) -> Finding:
    """Whether all dependencies exist for this Python."""
    text = ".".join(version)
    if (3, 11) <= (int(version[0]), int(version[1])) < (3, 14):
        return Finding("python", "ok", text)
    return Finding("python", "wrong", f"{text}; 3.11, 3.12 or 3.13 is needed", "Remove .venv and run `make demo`.")


def packages(required: Iterable[str], installed: Callable[[str], str | None]) -> Finding:
    """Whether the installed packages have the versions that Slipway needs."""
    from packaging.requirements import Requirement

    wrong = []
    for requirement in map(Requirement, required):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            version = installed(requirement.name)
            if version is None or not requirement.specifier.contains(version, prereleases=True):
                wrong.append(f"{requirement.name} {version or 'is missing'} (needed: {requirement.specifier})")
    if wrong:
        return Finding("packages", "wrong", "; ".join(wrong), "Remove .venv and run `make demo`.")
    return Finding("packages", "ok", "as Slipway needs them")


def installed_version(name: str) -> str | None:
    """The version of an installed package, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def variables(unknown: dict[str, str | None]) -> Iterator[Finding]:
    """Environment variables that look like misspelt settings."""
    for name, meant in unknown.items():
        advice = f"Did you mean {meant}? Rename it, or unset it." if meant else "Unset it; it has no effect."
        yield Finding("settings", "wrong", f"{name} is not a setting", advice)
    if not unknown:
        yield Finding("settings", "ok", "every SLIPWAY_ variable is known")


def disk(mine: Settings) -> Finding:
    """Whether there is disk space for models and their history."""
    folder = mine.home.absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    text = f"{size(free)} free for {mine.home.absolute()}"
    if free < _DISK_EASY:
        state: State = "wrong" if free < _DISK_LEAST else "warning"
        return Finding("disk", state, text, "Free some, or set SLIPWAY_HOME to a folder on a larger disk.")
    return Finding("disk", "ok", text)


def memory(available: int, up: bool) -> Finding:
    """Whether there is memory for the stack."""
    text = f"{size(available)} available"
    if not up and available < STACK_MEMORY:
        return Finding("memory", "warning", text, f"The stack uses up to {size(STACK_MEMORY)}: end other programs.")
    return Finding("memory", "ok", text)


def reached(mine: Settings) -> Finding:
    """Who can reach the stack's ports."""
    wanted = programs(mine)
    try:
        require_log_in(mine.host, wanted)
    except InvalidSettings as error:
        return Finding("reach", "wrong", str(error))
    text = reach(mine.host, wanted)
    if not is_loopback(mine.host):
        return Finding("reach", "warning", text, "See docs/security.md, and fence what is not for everybody.")
    if not mine.servers_without_agents and model_server_command(mine) != EMBEDDED:
        open_to_all = f"{mine.grpc_port} and {mine.rest_port}"
        return Finding(
            "reach",
            "warning",
            f"{text}, but TensorFlow Serving listens on every address of it",
            f"Fence ports {open_to_all}: everyone who reaches them can load and unload models.",
        )
    return Finding("reach", "ok", text)


def ports(mine: Settings) -> Finding:
    """Whether the stack's ports are free, or its own."""
    uses = [use for program in programs(mine) for use in program.ports]
    try:
        require_distinct(uses)
        require_free(mine.host, uses, members.listening(members.members(mine.home)))
    except SlipwayError as error:
        return Finding("ports", "wrong", str(error))
    return Finding("ports", "ok", f"{len(uses)} ports are free or the stack's own")


def credentials(mine: Settings) -> Finding:
    """Whether only their owner can read the local store's credentials."""
    path = mine.credentials_file
    if mine.s3_endpoint is not None:
        given = "from SLIPWAY_S3_ACCESS_KEY" if mine.s3_access_key else "from where boto3 looks for them"
        return Finding("credentials", "ok", given)
    if not path.exists():
        return Finding("credentials", "off", "made at the first `slipway up`")
    if path.stat().st_mode & 0o077:
        return Finding("credentials", "wrong", f"others may read {path}", f"chmod 600 {path}")
    return Finding("credentials", "ok", str(path))


def model_server(mine: Settings, up: bool) -> Finding:
    """Which model server serves, and whether it answers."""
    command = model_server_command(mine)
    text = "embedded" if command == EMBEDDED else " ".join(command)
    if not up:
        return Finding("model server", "off", text)
    address = f"http://{mine.host}:{mine.rest_port}"
    if probes.answers(f"{address}/v1/models/any", any_status=True):
        return Finding("model server", "ok", f"{text}, at {address}")
    return Finding("model server", "wrong", f"{text} does not answer at {address}", "See `slipway logs model-server`.")


@dataclass(frozen=True)
class ModelsView:
    """What a program that runs models can do on this machine."""

    landlock: int  # the version that the kernel offers; 0: none
    user: int  # as whom it runs
    reads: tuple[str, ...]  # which keys and credentials it can open


def models_view(mine: Settings) -> ModelsView:
    """Start a program as the replica's model server is started, and have it try.

    Raises:
        SlipwayError: it did not start.
    """
    secrets = [mine.private_key, mine.credentials_file, Path("~/.aws/credentials").expanduser()]
    paths = [str(path.absolute()) for path in secrets if path.exists()]
    command = isolated((PYTHON, "-P", "-c", _TRY, *paths), read=filter(Path.exists, mine.replica_files))
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TRY_SECONDS, check=False)
    if done.returncode != 0:
        raise StackError(f"a program cannot be started as the model server is: {done.stderr.strip()[-300:]}")
    user, *reads = done.stdout.splitlines()
    return ModelsView(landlock_version(), int(user), tuple(reads))


def isolation(view: ModelsView) -> Finding:
    """Whether a harmful model that the scan missed could read keys and credentials."""
    if not view.landlock:
        return Finding(
            "isolation",
            "warning",
            "this kernel offers no Landlock: a model that got past the scan can read all that you can, keys included",
            "Use Linux 5.13 or later with Landlock on, or serve only models from people you trust: docs/security.md.",
        )
    if view.reads:
        return Finding(
            "isolation",
            "wrong",
            f"the model server can read {', '.join(view.reads)}",
            "Move it out of the folders of Python, the system's programs and SLIPWAY_MODELS_DIR.",
        )
    if view.user == 0:
        return Finding(
            "isolation",
            "warning",
            "the model server cannot read keys and credentials, but runs as root: there is no other user here",
            "Run Slipway as a user who is not root.",
        )
    return Finding(
        "isolation",
        "ok",
        f"the model server cannot read keys and credentials (Landlock {view.landlock}, user {view.user})",
    )


def servers_without_agents(mine: Settings) -> Iterator[Finding]:
    """Without agents: whether the model servers answer, and their folder exists."""
    if not mine.replica_models.is_dir():
        yield Finding(
            "models folder",
            "wrong",
            f"{mine.replica_models} is not a folder",
            "Set SLIPWAY_MODELS_DIR to the one that the servers of SLIPWAY_REPLICA_ADDRESSES read.",
        )
    for address in mine.servers_without_agents:
        there = probes.answers(f"{address.rest_url}/v1/models/any", any_status=True)
        there = there and probes.open(address.host, address.grpc_port)
        if there:
            yield Finding("model server", "ok", f"{address.name} answers, without an agent")
        else:
            yield Finding("model server", "wrong", f"{address.name} does not answer", "See SLIPWAY_REPLICA_ADDRESSES.")


def store(mine: Settings, up: bool) -> Finding:
    """Whether the store answers, takes the credentials, has the bucket and honours create-if-absent."""
    from tasks.store.connect import connect

    address = f"{mine.store_url or 'AWS S3'}, bucket {mine.bucket}"
    if mine.s3_endpoint is None and not up:
        return Finding("store", "off", address)
    try:
        connect(mine).require_suitable()
    except SlipwayError as error:
        return Finding("store", "wrong", str(error))
    return Finding("store", "ok", f"{address}: takes the credentials, honours create-if-absent")


def objects(mine: Settings) -> Iterator[Finding]:
    """Whether there are objects in the store that nothing can use."""
    from tasks.fleet.strays import strays
    from tasks.store.connect import connect
    from tasks.versions.signing import Trust

    try:
        found = strays(connect(mine), Trust.of(mine))
    except SlipwayError as error:
        yield Finding("objects", "wrong", str(error))
        return
    for text in found:
        yield Finding("objects", "warning", text)
    if not found:
        yield Finding("objects", "ok", "every record in the store can be read")


def server(name: str, url: str, version_path: str, elsewhere: str | None, up: bool, headers: probes.Headers) -> Finding:
    """Whether a server answers, and has the version that is installed here."""
    here = installed_version(name)
    if elsewhere is None and not up:
        return Finding(name, "off", f"{here} is installed")
    answer = probes.get_text(f"{url}{version_path}", headers)
    if answer is None:
        return Finding(
            name, "wrong", f"no answer from {url}", f"See `slipway logs {name}`, or SLIPWAY_{name.upper()}_URL."
        )
    theirs = answer.strip().strip('"')
    if theirs != here:
        return Finding(name, "warning", f"{url} runs {theirs}, here is {here}", "Bring both to the same version.")
    return Finding(name, "ok", f"{theirs}, at {url}")


def agent(mine: Settings, up: bool) -> Finding:
    """Whether this machine's replica serves all of its fleet's newest config."""
    url = f"http://{mine.host}:{mine.agent_port}"
    if not up:
        return Finding("agent", "off", f"fleet {mine.fleet}, replica {mine.replica}")
    if not probes.answers(f"{url}/healthz"):
        return Finding("agent", "wrong", f"no answer from {url}", "See `slipway logs agent`.")
    if not probes.answers(f"{url}/readyz"):
        return Finding(
            "agent",
            "warning",
            f"replica {mine.replica} has not reached its fleet's newest config",
            f"See {url}/readyz.",
        )
    return Finding("agent", "ok", f"replica {mine.replica} has reached its fleet's newest config")

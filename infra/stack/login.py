"""The log-in of the stack's web servers, and the Prefect profile with which `prefect` commands find the stack."""

import base64
import contextlib
import fcntl
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from infra.stack.secrets import PRIVATE
from tasks.files import create, write_atomically
from tasks.settings import Settings

PROFILE = "slipway"
_URL, _LOGIN = "PREFECT_API_URL", "PREFECT_API_AUTH_STRING"
_LOGIN_FORM = re.compile(r"slipway:[\w-]{32,}")


def ensure_login(settings: Settings, otherwise: str | None = None) -> str:
    """The log-in of the stack's web servers, `USER:PASSWORD`, in a file of mode 0600; made if there is none.

    Args:
        otherwise: the log-in to write if there is none; None for one made at random.
    """
    path = settings.login_file
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        create(path, (otherwise or f"slipway:{secrets.token_urlsafe(24)}").encode(), PRIVATE)
    path.chmod(PRIVATE)
    return path.read_text().strip()


def login_sentence(settings: Settings) -> str:
    """What to enter when a web page of the stack asks for a log-in; "" if the stack has no such page."""
    if settings.prefect_url is not None and settings.mlflow_url is not None:
        return ""
    login = ensure_login(settings)
    user, _, password = login.partition(":")
    return (
        f"Web pages ask once for a log-in. In Prefect's page paste `{login}` into its one field; in MLflow's enter "
        f"user {user} and password {password} (kept in {settings.login_file.absolute()})."
    )


def authorization(settings: Settings) -> dict[str, str]:
    """The header that the local stack's Prefect server asks for; none if another server is used."""
    if settings.prefect_url is not None or not settings.login_file.exists():
        return {}
    return {"Authorization": f"Basic {base64.b64encode(ensure_login(settings).encode()).decode()}"}


def write_profiles(settings: Settings) -> str:
    """Make the log-in, and a Prefect profile for the user's `prefect` commands and one for the stack's own programs.

    Stacks of one user share a log-in, so that the profile fits all of them, by PREFECT_API_URL.

    Returns:
        What the user has to do before `prefect` finds the stack; "" if nothing.
    """
    ours = settings.home / "prefect" / "profiles.toml"
    theirs = user_profiles()
    advice = f"`export {_URL}={settings.prefect_api}` leads `prefect` to this stack"
    try:
        with _locked(theirs.parent):
            document = _read(theirs)
            login = ensure_login(settings, login_in(document))
            active = point(document, settings.prefect_api, login)
            _write(theirs, document)
        if active == PROFILE:
            advice = ""
        else:
            advice = (
                f"The active profile of Prefect, {active!r}, names another server: `prefect profile use {PROFILE}`, or "
                f"PREFECT_PROFILE={PROFILE}, leads `prefect` to this stack."
            )
    except (OSError, TOMLKitError, ValueError) as error:
        login = ensure_login(settings)
        advice = f"Prefect's profiles in {theirs} were left as they are ({error}): {advice}."
    own = tomlkit.document()
    point(own, settings.prefect_api, login)
    del own["active"]  # PREFECT_PROFILE chooses it if the server is this one
    _write(ours, own)
    return advice


def user_profiles() -> Path:
    """The file in which the user's Prefect keeps its profiles."""
    home = Path(os.environ.get("PREFECT_HOME") or "~/.prefect").expanduser()
    return Path(os.environ.get("PREFECT_PROFILES_PATH") or home / "profiles.toml").expanduser().absolute()


def login_in(document: tomlkit.TOMLDocument) -> str | None:
    """The log-in in the profile that an earlier stack of this user wrote; None if there is none."""
    login = document.get("profiles", {}).get(PROFILE, {}).get(_LOGIN)
    return str(login) if isinstance(login, str) and _LOGIN_FORM.fullmatch(login) else None


def point(document: tomlkit.TOMLDocument, api: str, login: str) -> str:
    """Write `api` and `login` into our profile, and change nothing else; the profile that is active then.

    It becomes the active one unless the user has chosen one that names a server of its own.
    """
    profiles: Any = document.setdefault("profiles", tomlkit.table(is_super_table=True))
    profile = profiles.setdefault(PROFILE, tomlkit.table())
    for name, value in ((_URL, api), (_LOGIN, login)):
        if profile.get(name) != value:
            profile[name] = value
    active = str(document.get("active", ""))
    if active != PROFILE and not profiles.get(active, {}).get(_URL):
        document["active"] = active = PROFILE
    return active


def _read(path: Path) -> tomlkit.TOMLDocument:
    document = tomlkit.parse(path.read_text()) if path.exists() else tomlkit.document()
    profiles = document.get("profiles", {})
    if not isinstance(profiles, Mapping) or not all(isinstance(profile, Mapping) for profile in profiles.values()):
        raise ValueError("it holds something other than profiles")
    return document


def _write(path: Path, document: tomlkit.TOMLDocument) -> None:
    """Write `document` to `path`, readable by its owner alone, by an atomic rename, unless it is there already."""
    path = path.resolve()  # a link stays a link: what it points at is replaced
    text = tomlkit.dumps(document)
    if path.exists() and path.read_text() == text:
        path.chmod(PRIVATE)
        return
    write_atomically(path, text.encode(), PRIVATE)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a lock on `folder`: stacks that start at the same time change the profiles in it one after the other."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)

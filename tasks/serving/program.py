"""Which program serves models here: the same for the replica and for the sandbox."""

import shutil
from pathlib import Path

from tasks.errors import InvalidSettings
from tasks.isolation import PYTHON
from tasks.settings import Settings

# -P: a package in the working folder must not stand in for Slipway's own.
EMBEDDED = (PYTHON, "-P", "-m", "slipway_entry", "infra.modelserver")


def model_server_command(settings: Settings) -> tuple[str, ...]:
    """The model server that `settings.model_server` chooses, without flags.

    Raises:
        InvalidSettings: it names a binary that does not exist, or cannot be run.
    """
    choice = settings.model_server
    if choice == "auto":
        found = shutil.which("tensorflow_model_server")
        return (found,) if found else EMBEDDED
    if choice == "embedded":
        return EMBEDDED
    found = shutil.which(Path(choice).expanduser())
    if found is None:
        raise InvalidSettings(
            f"SLIPWAY_MODEL_SERVER={choice!r} is not a program that can be run: give the path of a "
            "tensorflow_model_server, or `embedded`, or `auto`."
        )
    return (str(Path(found).absolute()),)

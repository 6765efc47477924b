"""`python -m infra.stack.verify_models MODELS_DIR CONFIG KEY COMMAND…`: become COMMAND once the models are verified.

A model server reads what lies on the disk when it starts, and answers nobody before it has loaded all that its config
names. So a version that was altered since it was fetched is removed first, and its model leaves the config; the
replica's agent fetches the one and restores the other. KEY is the trusted public key, or `-` where versions need no
signature.
"""

import logging
import os
import sys
from pathlib import Path

log = logging.getLogger("infra.stack.verify_models")


def main(models_dir: Path, config: Path, key: str, command: list[str]) -> None:
    """Verify, and become the command. Returns only by an exception."""
    if any(models_dir.glob("*/[0-9]*")):  # what verifies takes half a second to import
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname).1s %(message)s")
        from tasks.errors import InvalidSettings

        try:
            altered = _remove_altered(models_dir, None if key == "-" else Path(key))
        except InvalidSettings as error:  # the key is not there, which says nothing about the versions
            sys.exit(str(error))
        if altered:
            _leave_out(config, {str(models_dir / model) for model in altered})
    os.execvp(command[0], command)  # noqa: S606


def _remove_altered(models_dir: Path, key: Path | None) -> set[str]:
    """Remove each version that is not what was fetched; the models that had one."""
    from tasks.errors import Corrupt
    from tasks.versions import fetch, kept
    from tasks.versions.signing import Trust

    found = set()
    for folder in models_dir.iterdir():
        for version in fetch.local_versions(models_dir, folder.name):
            try:
                kept.require_unaltered(models_dir, Trust(key), folder.name, version)
            except Corrupt as error:
                log.error("%s It is removed, and fetched again.", error)
                fetch.remove_version(models_dir, folder.name, version)
                found.add(folder.name)
    return found


def _leave_out(config: Path, base_paths: set[str]) -> None:
    """Take the models at these base paths out of the config that the server starts from."""
    from tasks.fleet.config import parse, with_entries
    from tasks.fleet.converge import write_config

    models = parse(config.read_text(), str(config))
    altered = [entry.name for entry in models.model_config_list.config if entry.base_path in base_paths]
    write_config(config, with_entries(models, dict.fromkeys(altered)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4:])

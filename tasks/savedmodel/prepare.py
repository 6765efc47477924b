"""Preparing a SavedModel that was made elsewhere for publishing."""

import shutil
from pathlib import Path

from tasks import names
from tasks.limits import Limits
from tasks.records import Build, Training
from tasks.savedmodel import safety
from tasks.savedmodel.content import plain_files
from tasks.savedmodel.examples import golden_from_inputs
from tasks.savedmodel.golden import GOLDEN, write_golden
from tasks.savedmodel.read import SavedModelFolder
from tasks.settings import Settings


def prepare_saved_model(
    settings: Settings, model: str, saved_model: str, inputs: str | None, run: str, limits: Limits | None = None
) -> Build:
    """Take a SavedModel that was made elsewhere, with what it answers to `inputs` as its golden examples.

    Args:
        saved_model: its folder, which stays as it is.
        inputs: a file as `tasks.savedmodel.examples.inputs_from_file` takes it; if None, they are made up.
        limits: what the paths may name; None: any path.

    Raises:
        InvalidInput: `limits` do not allow a path.
        InvalidSavedModel, InvalidData, NotServable: says what is wrong with it, or with the inputs.
        ForbiddenOps: its graph holds operations that touch files or run code; it was not run.
    """
    if limits:
        saved_model = limits.path("saved_model", saved_model)
        inputs = limits.path("inputs", inputs) if inputs else None
    source, directory = Path(saved_model), build_directory(settings.home, model, run)
    read = SavedModelFolder.read(source)
    signatures = read.require_servable()
    plain_files(source)
    safety.require_harmless(read, settings.allowed_operations)
    examples = golden_from_inputs(read, Path(inputs) if inputs else None)
    shutil.copytree(source, directory, symlinks=True)  # one that was put there since is refused, too
    (directory / GOLDEN).parent.mkdir(exist_ok=True)
    write_golden(directory / GOLDEN, examples)
    return Build(model, str(directory), signatures, GOLDEN, Training())


def discard_build(build: Build) -> None:
    """Remove a build's folder."""
    shutil.rmtree(build.directory, ignore_errors=True)


def build_directory(home: Path, model: str, run: str) -> Path:
    """A folder under `home` for the build of this run; what an earlier attempt left there is removed."""
    directory = home.absolute() / "builds" / f"{names.model_name(model)}-{run}"
    shutil.rmtree(directory, ignore_errors=True)
    directory.parent.mkdir(parents=True, exist_ok=True)
    return directory

"""Preparing a SavedModel that was made elsewhere for publishing."""

import contextlib
import glob
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks import names
from tasks.errors import Corrupt
from tasks.files import write_atomically
from tasks.limits import Limits
from tasks.processes import ProcessRef, clear_temporary, is_gone, this_process
from tasks.records import Build, Record, Training
from tasks.savedmodel import safety
from tasks.savedmodel.content import FINGERPRINT, GOLDEN, plain_files
from tasks.savedmodel.examples import golden_from_inputs
from tasks.savedmodel.golden import write_golden
from tasks.savedmodel.read import GRAPH, SavedModelFolder
from tasks.settings import Settings

log = logging.getLogger(__name__)


def prepare_saved_model(
    settings: Settings,
    model: str,
    saved_model: str,
    inputs: str | None,
    run: str,
    limits: Limits | None = None,
    signatures: Sequence[str] | None = None,
) -> Build:
    """Take a SavedModel that was made elsewhere, with what it answers to `inputs` as its golden examples.

    Args:
        saved_model: its folder, which stays as it is.
        inputs: a file as `tasks.savedmodel.examples.inputs_from_file` takes it; if None, they are made up.
        limits: what the paths may name; None: any path.
        signatures: the only ones that the build keeps; None: all.

    Raises:
        InvalidInput: `limits` do not allow a path.
        InvalidSavedModel, InvalidData, NotServable: says what is wrong with it, or with the inputs.
        ForbiddenOps: its graph holds operations that touch files or run code; it was not run.
    """
    if limits:
        saved_model = limits.path("saved_model", saved_model)
        inputs = limits.path("inputs", inputs) if inputs else None
    names.model_name(model)
    source = Path(saved_model)
    whole = SavedModelFolder.read(source)
    plain_files(source)
    read = whole.keeping(signatures) if signatures is not None else whole
    specs = read.require_servable()
    safety.require_harmless(read, settings.allowed_operations)
    _warn_of_numbers(read)
    examples = golden_from_inputs(read, Path(inputs) if inputs else None)
    directory = build_directory(settings.home, model, run)
    shutil.copytree(source, directory, symlinks=True)  # one that was put there since is refused, too
    if specs.keys() != whole.signatures.keys():
        _replace_graph(directory, read)
    (directory / GOLDEN).parent.mkdir(exist_ok=True)
    write_golden(directory / GOLDEN, examples)
    return Build(model, str(directory), specs, GOLDEN, Training())


def _warn_of_numbers(model: SavedModelFolder) -> None:
    """Warn of inputs whose names depend on what was built before in the process that exported the model."""
    for signature, spec in model.signatures.items():
        for name in filter(names.is_numbered_input, spec.inputs):
            log.warning(
                "%s: Keras itself numbered input %r of signature %r, so the next export may call it otherwise, which "
                'breaks its clients: name it, keras.Input(…, name="…")',
                model.directory,
                name,
                signature,
            )


def _replace_graph(directory: Path, model: SavedModelFolder) -> None:
    """Write what `model` holds in the place of what `directory` holds."""
    (directory / FINGERPRINT).unlink(missing_ok=True)  # it is that of the old graph, and optional
    write_atomically(directory / GRAPH, model.content.SerializeToString(deterministic=True))


def discard_build(build: Build) -> None:
    """Remove a build's folder."""
    shutil.rmtree(build.directory, ignore_errors=True)
    keep_build(build)


def keep_build(build: Build) -> None:
    """Leave a build's folder to whoever asked for it: it outlives this process."""
    _mark(Path(build.directory)).unlink(missing_ok=True)


def clear_leftovers(settings: Settings) -> None:
    """Remove the builds and temporary folders of processes on this machine that ended without doing so."""
    clear_temporary()
    for mark in _builds(settings.home).glob(".*.owner"):
        with contextlib.suppress(FileNotFoundError, Corrupt):
            if is_gone(_Owner.from_json(mark.read_bytes(), str(mark)).process):
                name = mark.name.removeprefix(".").removesuffix(".owner")
                for folder in (mark.parent / name, *mark.parent.glob(f".{glob.escape(name)}-*")):
                    shutil.rmtree(folder, ignore_errors=True)
                mark.unlink()


def build_directory(home: Path, model: str, run: str) -> Path:
    """A folder under `home` for the build of this run; what an earlier attempt left there is removed.

    It goes with this process (see `clear_leftovers`), unless it is kept.
    """
    directory = _builds(home) / f"{names.model_name(model)}-{run}"
    shutil.rmtree(directory, ignore_errors=True)
    write_atomically(_mark(directory), _Owner(this_process()).to_json())
    return directory


@dataclass(frozen=True)
class _Owner(Record):
    """Whose a build is."""

    process: ProcessRef


def _builds(home: Path) -> Path:
    return home.absolute() / "builds"


def _mark(directory: Path) -> Path:
    return directory.with_name(f".{directory.name}.owner")

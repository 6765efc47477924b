"""Trying a SavedModel before it is published: alone in a model server, its sandbox."""

import logging
from collections.abc import Sequence
from pathlib import Path

import stamina

from tasks.errors import NotServable
from tasks.policy import Policy
from tasks.processes import temporary_folder
from tasks.records import Build, Manifest, Training
from tasks.savedmodel import safety
from tasks.savedmodel.calls import require_random
from tasks.savedmodel.golden import GoldenExample, read_golden, require_golden
from tasks.savedmodel.messages import Failure, advice
from tasks.savedmodel.read import SavedModelFolder
from tasks.serving.client import Target
from tasks.serving.sandbox import VERSION, SandboxPortTaken, serving
from tasks.settings import Settings
from tasks.validation.checks.base import Expected
from tasks.validation.validate import ValidationReport, validate_version

log = logging.getLogger(__name__)


def try_saved_model(
    model: str, directory: Path, examples: Sequence[GoldenExample], settings: Settings, policy: Policy
) -> ValidationReport:
    """Load the SavedModel in `directory` alone, in the same program that serves, and ask it its golden examples.

    Raises:
        InvalidSavedModel: it is not a SavedModel.
        ForbiddenOps: its graph holds operations that touch files or run code; it was not run.
        NotServable: a signature has no golden example, fails, answers otherwise than expected, or too slowly.
        LoadFailed: it does not load, or the server dies of it; carries the end of the server's log.
        DeadlineExceeded: it does not load in time.
    """
    read = SavedModelFolder.read(directory)
    safety.require_harmless(read, settings.allowed_operations)
    signatures = require_golden(read, examples)
    require_random(read, policy.compare)
    expected = Expected(Manifest(model, VERSION, "", (), signatures, None, Training()), policy, examples=examples)
    with temporary_folder("sandbox") as folder:
        base = folder / model
        base.mkdir()
        (base / str(VERSION)).symlink_to(directory.absolute())
        report = _validated_on_free_ports(expected, base, settings)
    if not report.passed:
        raise _refusal(report)
    log.info("%s in a sandbox: %s", model, report.summary())
    for finding in report.findings:
        if finding.note is not None:
            log.warning("%s, signature %s: %s", model, finding.asked.get("signature"), finding.note)
    return report


def _validated_on_free_ports(expected: Expected, base: Path, settings: Settings) -> ValidationReport:
    for attempt in stamina.retry_context(on=SandboxPortTaken, attempts=5):
        with attempt:
            return _validated_alone(expected, base, settings)
    raise AssertionError("the last attempt returns or raises")


def _validated_alone(expected: Expected, base: Path, settings: Settings) -> ValidationReport:
    model = expected.manifest.model
    with serving(model, base, settings) as sandbox:
        sandbox.await_available(expected.policy.load_deadline)
        try:
            return validate_version(expected, [sandbox.replica], Target(model))
        finally:
            sandbox.require_alive()


def _refusal(report: ValidationReport) -> NotServable:
    first = next(finding for finding in report.findings if finding.wrong is not None)
    wrong = " ".join((first.wrong or "").split())
    more = f" (and {len(report.failures) - 1} more)" if len(report.failures) > 1 else ""
    return NotServable(
        f"{report.model}, tried in a {first.question.removeprefix('replica ')}: {wrong}{more}. "
        f"{first.note or advice(Failure('', wrong))} Nothing was published."
    )


def try_in_sandbox(settings: Settings, build: Build, policy: Policy) -> None:
    """Load the build alone, in the same program that serves, and compare its answers with the golden ones.

    Raises:
        ForbiddenOps, NotServable, LoadFailed, DeadlineExceeded: as `tasks.validation.sandbox.try_saved_model` does.
    """
    directory = Path(build.directory)
    examples = read_golden(directory / build.golden) if build.golden is not None else []
    try_saved_model(build.model, directory, examples, settings, policy)

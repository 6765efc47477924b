"""Asking model servers whether they answer as trained: every replica is put to every check."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tasks.data.held_out import held_out_examples
from tasks.errors import ValidationFailed
from tasks.evaluation.metrics import is_share, metric_in_words, value_in_words
from tasks.fleet.config import Fleet
from tasks.policy import Policy
from tasks.records import Record, ReplicaReport, RolloutRecord
from tasks.serving.client import ServingClient, Target
from tasks.serving.identity import require_reporter
from tasks.validation.checks.base import Expected, Finding, Subject
from tasks.validation.checks.held_out_score import Score
from tasks.validation.checks.registered import findings
from tasks.versions import catalog
from tasks.versions.catalog import golden_examples

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ValidationReport(Record):
    """What model servers answered for one version."""

    model: str
    version: int
    target: Target
    findings: tuple[Finding, ...]

    @property
    def failures(self) -> list[str]:
        """Everything that was wrong, in words."""
        return [f"{finding.question}: {finding.wrong}" for finding in self.findings if finding.wrong is not None]

    @property
    def notes(self) -> list[str]:
        """Everything that passes, but that a reader should know."""
        return [f"{finding.question}: {finding.note}" for finding in self.findings if finding.note is not None]

    @property
    def passed(self) -> bool:
        """Whether something was asked and every answer was right."""
        return bool(self.findings) and not self.failures

    @property
    def scores(self) -> list[Score]:
        """How good each replica's answers to the held-out examples were."""
        return [finding for finding in self.findings if isinstance(finding, Score)]

    def summary(self) -> str:
        """One line for a terminal."""
        replicas = len({finding.replica for finding in self.findings})
        served = [score for score in self.scores if "served" in score.figures]
        scores = ""
        for metric in dict.fromkeys(score.metric for score in served):
            values = [score.figures["served"] for score in served if score.metric == metric]
            worst = min(values) if is_share(metric) else max(values)
            scores += f", held-out {metric_in_words(metric)} {value_in_words(metric, worst)}"
        verdict = "all right" if self.passed else f"{len(self.failures)} wrong"
        return f"{len(self.findings)} checks on {replicas} replica{'s' * (replicas != 1)}: {verdict}{scores}"

    def require_passed(self) -> None:
        """Raise unless all was right.

        Raises:
            ValidationFailed: says the first thing that was wrong, and how many more there are.
        """
        if self.passed:
            return
        wrong = self.failures or ["nothing was asked: the fleet has no replica"]
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise ValidationFailed(f"{self.model} version {self.version}, served as {self.target}: {wrong[0]}{more}")


def validate_version(expected: Expected, asked: Sequence[ReplicaReport], target: Target) -> ValidationReport:
    """Put each replica's answers for `target` to every check.

    A wrong or late answer, or an error instead of one, is a finding in the report and not an exception.

    Raises:
        ServingUnreachable: a replica gave no answer, which says nothing about the version.
    """
    found: list[Finding] = []
    for replica in asked:
        with ServingClient(replica.grpc_address, replica.rest_url, expected.policy.call_deadline) as server:
            found += findings(Subject(server, replica.replica, target, expected))
    return ValidationReport(expected.manifest.model, expected.manifest.version, target, tuple(found))


def read_expected(fleet: Fleet, record: RolloutRecord, policy: Policy) -> Expected:
    """What the version of a rollout is held against, read once for all its stages.

    Raises:
        NotFound, Corrupt: the version, or its golden or held-out examples, are not in the store, or changed.
        SignatureInvalid: the version is not signed by whom this fleet trusts.
    """
    manifest = catalog.trusted_manifest(fleet.store, fleet.trust, record.model, record.version)
    return Expected(
        manifest,
        policy,
        catalog.manifest(fleet.store, record.model, record.against) if record.against is not None else None,
        golden_examples(fleet.store, manifest),
        held_out_examples(fleet.store, manifest.training.dataset),
        fleet.name,
        fleet.hosts,
    )


def validate(
    expected: Expected, target: Target, asked: Sequence[ReplicaReport], beside_live: bool = False
) -> ValidationReport:
    """Ask each of these replicas for `target`, which must answer as the version did when it was trained.

    Args:
        beside_live: the live version is served too, and this one may not be much slower.

    Raises:
        ServingUnreachable: a replica gave no answer, which says nothing about the version.
        ServingError: another replica is at the address that it reported.
    """
    for replica in asked:
        require_reporter(expected.fleet, replica, expected.hosts, expected.policy.call_deadline)
    report = validate_version(expected if beside_live else replace(expected, live=None), asked, target)
    log.info("%s version %d as %s: %s", report.model, report.version, target, report.summary())
    return report

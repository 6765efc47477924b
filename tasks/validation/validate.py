"""Asking model servers whether they answer as trained: every replica, every signature, over REST and gRPC."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from tasks.data.held_out import HeldOut, held_out_examples
from tasks.errors import ValidationFailed
from tasks.evaluation.questions import accuracy_question
from tasks.fleet.config import Fleet
from tasks.policy import Policy
from tasks.records import Manifest, Record, ReplicaReport, RolloutRecord
from tasks.savedmodel.golden import GoldenExample
from tasks.serving.client import ServingClient, Target
from tasks.validation.checks import PROTOCOLS, Accuracy, Check, asker, asker_of_live, check_answers, held_out_accuracy
from tasks.versions import catalog
from tasks.versions.catalog import golden_examples

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ValidationReport(Record):
    """What model servers answered for one version."""

    model: str
    version: int
    target: Target
    checks: tuple[Check, ...]
    accuracies: tuple[Accuracy, ...]

    @property
    def failures(self) -> list[str]:
        """Everything that was wrong, in words."""
        answers = [
            f"replica {c.replica}, {c.protocol}, signature {c.signature!r}: {c.wrong}" for c in self.checks if c.wrong
        ]
        return answers + [f"replica {a.replica}: {a.wrong}" for a in self.accuracies if a.wrong]

    @property
    def passed(self) -> bool:
        """Whether something was asked and every answer was right."""
        return bool(self.checks) and not self.failures

    def summary(self) -> str:
        """One line for a terminal."""
        replicas = len({c.replica for c in self.checks})
        accuracy = f", held-out accuracy {min(a.served for a in self.accuracies):.4f}" if self.accuracies else ""
        verdict = "all right" if self.passed else f"{len(self.failures)} wrong"
        return f"{len(self.checks)} checks on {replicas} replica{'s' * (replicas != 1)}: {verdict}{accuracy}"

    def require_passed(self) -> None:
        """Raise unless all was right.

        Raises:
            ValidationFailed: says the first thing that was wrong, and how many more there are.
        """
        if self.passed:
            return
        wrong = self.failures or ["nothing was asked: the fleet has no replica, or the version has no golden examples"]
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise ValidationFailed(f"{self.model} version {self.version}, served as {self.target}: {wrong[0]}{more}")


def validate_version(
    manifest: Manifest,
    examples: Sequence[GoldenExample],
    held_out: HeldOut | None,
    asked: Sequence[ReplicaReport],
    target: Target,
    policy: Policy,
    live: Manifest | None = None,
) -> ValidationReport:
    """Ask each replica for `target` and compare with what `manifest`'s version answered when it was trained.

    A wrong or late answer, or an error instead of one, is a finding in the report and not an exception.

    Args:
        held_out: x `[N, …]` and y `[N]` that training never saw, or None.
        live: the live version, which is asked the same on the same replica.

    Raises:
        ServingUnreachable: a replica gave no answer, which says nothing about the version.
    """
    checks: list[Check] = []
    accuracies: list[Accuracy] = []
    question = accuracy_question(manifest.signatures, held_out.x.shape[1:]) if held_out else None
    for replica in asked:
        with ServingClient(replica.grpc_address, replica.rest_url, policy.call_deadline) as server:
            for name, spec in sorted(manifest.signatures.items()):
                of_signature = [e for e in examples if e.signature == name]
                if not of_signature:
                    continue
                checks += [
                    check_answers(
                        replica.replica,
                        protocol,
                        name,
                        of_signature,
                        asker(server, protocol, target, name, spec),
                        manifest.version,
                        policy,
                        ask_live=asker_of_live(server, protocol, live, name),
                    )
                    for protocol in PROTOCOLS
                ]
            if question is not None and held_out is not None:
                accuracies.append(
                    held_out_accuracy(server, target, replica.replica, question, held_out, manifest, policy)
                )
    return ValidationReport(manifest.model, manifest.version, target, tuple(checks), tuple(accuracies))


def validate(
    fleet: Fleet,
    record: RolloutRecord,
    target: Target,
    asked: Sequence[ReplicaReport],
    policy: Policy,
    against: int | None = None,
) -> ValidationReport:
    """Ask each of these replicas for `target`, which must answer as the version did when it was trained.

    Args:
        against: the live version, if this one may not be much slower.

    Raises:
        NotFound, Corrupt: the version, or its golden or held-out examples, are not in the store, or changed.
        ServingUnreachable: a replica gave no answer, which says nothing about the version.
    """
    manifest = catalog.manifest(fleet.store, record.model, record.version)
    report = validate_version(
        manifest,
        golden_examples(fleet.store, manifest),
        held_out_examples(fleet.store, manifest.training.dataset),
        asked,
        target,
        policy,
        live=catalog.manifest(fleet.store, record.model, against) if against is not None else None,
    )
    log.info("%s version %d as %s: %s", record.model, record.version, target, report.summary())
    return report

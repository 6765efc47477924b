"""Golden answers: over REST and gRPC, every signature answers as the trained model did."""

from collections.abc import Iterable

from tasks.savedmodel.wires import rest_note, unread_note
from tasks.validation.checks.base import Check, Expected, Finding, Subject


class GoldenAnswers:
    """The answers to the golden examples are right, and the version's own."""

    name = "golden answers"

    def sentence(self, expected: Expected) -> str | None:
        """That its signatures are asked, and how far answers may lie apart."""
        specs = expected.manifest.signatures.values()
        alone = sum(rest_note(spec) is not None for spec in specs)
        signatures = f"{len(specs)} signature{'s' * (len(specs) != 1)} over REST and gRPC"
        if alone:
            signatures += f" ({alone} over gRPC alone, as JSON cannot carry what it takes or gives)"
        return f"{signatures}, whose answers may differ by {expected.policy.answer_tolerance:g}"

    def __call__(self, subject: Subject) -> Iterable[Finding]:
        """One for each signature and each protocol that can carry it."""
        if not subject.answers:
            yield Finding(self.name, subject.replica, {}, "nothing was asked: the version has no golden examples")
        for (wire, signature), answers in subject.answers.items():
            asked = {"protocol": wire, "signature": signature}
            note = _note(subject, signature) if answers.wrong is None and wire == "gRPC" else answers.advice
            yield Finding(self.name, subject.replica, asked, answers.wrong, {"examples": answers.examples}, note=note)


def _note(subject: Subject, signature: str) -> str | None:
    """What was left out of what a signature was asked."""
    spec, policy = subject.expected.manifest.signatures[signature], subject.expected.policy
    loose = [name for name in policy.compare if name in spec.outputs]
    notes = (
        rest_note(spec),
        unread_note(spec),
        f"of {', '.join(map(repr, loose))} only shape and dtype were compared, by the policy" if loose else None,
    )
    return "; ".join(note for note in notes if note is not None) or None


CHECK: Check = GoldenAnswers()

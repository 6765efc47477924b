"""Golden answers: over REST and gRPC, every signature answers as the trained model did."""

from collections.abc import Iterable

from tasks.validation.checks.base import Check, Expected, Finding, Subject


class GoldenAnswers:
    """The answers to the golden examples are right, and the version's own."""

    name = "golden answers"

    def sentence(self, expected: Expected) -> str | None:
        """That its signatures are asked, and how far answers may lie apart."""
        count = len(expected.manifest.signatures)
        signatures = f"{count} signature{'s' * (count != 1)} over REST and gRPC"
        return f"{signatures}, whose answers may differ by {expected.policy.answer_tolerance:g}"

    def __call__(self, subject: Subject) -> Iterable[Finding]:
        """One for each signature and protocol."""
        if not subject.answers:
            yield Finding(self.name, subject.replica, {}, "nothing was asked: the version has no golden examples")
        for (wire, signature), answers in subject.answers.items():
            asked = {"protocol": wire, "signature": signature}
            yield Finding(self.name, subject.replica, asked, answers.wrong, {"examples": answers.examples})


CHECK: Check = GoldenAnswers()

"""Speed: right answers come in time, and not much later than the live version's on the same replica."""

import math
from collections.abc import Iterable

from tasks.policy import Policy
from tasks.validation.checks.base import Check, Expected, Finding, Subject, Wire


class Speed:
    """The median answer comes within the policy's budget, and within its slow-down beside the live version."""

    name = "speed"

    def sentence(self, expected: Expected) -> str | None:
        """How long an answer may take."""
        policy, live = expected.policy, expected.live
        beside = f", and {policy.slowdown:g} times as long as version {live.version}'s" if live is not None else ""
        return f"how long the answers take: {policy.answer_budget:g} s at most{beside}"

    def __call__(self, subject: Subject) -> Iterable[Finding]:
        """One for each signature and protocol whose answers are right."""
        return [
            _measured(subject, wire, signature)
            for (wire, signature), answers in subject.answers.items()
            if answers.wrong is None
        ]


def _measured(subject: Subject, wire: Wire, signature: str) -> Finding:
    """What is too slow is measured again, in turn with the live version: only what is so each time is held against it.

    A machine that is busy slows down both of a pair, or one of them by chance. Were chance even, seven pairs in a row
    would be one in 128 (a sign test).
    """
    policy = subject.expected.policy
    seconds, live = subject.answers[wire, signature].seconds, subject.seconds_of_live(wire, signature)
    wrong = too_slow(seconds, live, policy)
    for _ in range(policy.speed_tries - 1):
        if wrong is None:
            break
        again = subject.ask(wire, signature)
        seconds, live = again.seconds, subject.seconds_of_live(wire, signature)
        wrong = too_slow(seconds, live, policy)
        if again.wrong is not None:
            wrong = again.wrong
            break
    figures = {"median ms": 1000 * seconds} | ({"live version's ms": 1000 * live} if math.isfinite(live) else {})
    return Finding(Speed.name, subject.replica, {"protocol": wire, "signature": signature}, wrong, figures)


def too_slow(seconds: float, live: float, policy: Policy) -> str | None:
    """Why `seconds` are too long for an answer that takes the live version `live` seconds, None if they are not."""
    if seconds > policy.answer_budget:
        allowed = f"the policy's answer_budget allows {policy.answer_budget:g} s"
        return f"its answers are right, but take {seconds:.2g} s; {allowed}"
    if seconds > max(policy.always_fast, policy.slowdown * live):
        return (
            f"its answers are right, but take {1000 * seconds:.3g} ms, while the live version takes "
            f"{1000 * live:.3g} ms; the policy's slowdown allows {policy.slowdown:g} times as long"
        )
    return None


CHECK: Check = Speed()

"""Speed: right answers come in time, and not much later than the live version's on the same replica."""

import statistics
from collections.abc import Iterable, Sequence

from tasks.policy import Policy
from tasks.validation.checks.base import Check, Expected, Finding, Subject, Wire

_ERROR = 0.01  # how often a version that is not too slow may be taken for one by chance


_FAR = 5  # times the budget: no busy machine makes so much of an answer in time, twice in a row


class Speed:
    """Answers come within the policy's budget, and within its slow-down beside the live version."""

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
    """What seems too slow is asked again, in turn with the live version, as often as the policy says.

    It is over the budget if it was each time, and too slow beside the live version if the pairs are evidence of it.
    """
    policy, first = subject.expected.policy, subject.answers[wire, signature].seconds
    asked = {"protocol": wire, "signature": signature}
    new, pairs, over_budget, seems_slow = [first], list[tuple[float, float]](), first > policy.answer_budget, False
    for number in range(policy.speed_tries if over_budget or subject.expected.live is not None else 0):
        found = subject.pairs(wire, signature)
        if found.wrong is not None:
            return Finding(Speed.name, subject.replica, asked, found.wrong, {"median ms": 1000 * first})
        new = [*found.seconds] if number == 0 else [*new, *found.seconds]
        pairs += zip(found.seconds, found.live, strict=False)
        over_budget = over_budget and statistics.median(found.seconds) > policy.answer_budget
        seems_slow = bool(pairs) and statistics.median(_late(pairs, policy)) > 0
        far_over = over_budget and statistics.median(found.seconds) > _FAR * policy.answer_budget
        if far_over or not (over_budget or seems_slow):
            break
    seconds, live = statistics.median(new), statistics.median(each for _, each in pairs) if pairs else None
    wrong = note = None
    if over_budget:
        allowed = f"the policy's answer_budget allows {policy.answer_budget:g} s"
        wrong = f"its answers are right, but take {seconds:.2g} s; {allowed}"
    elif seems_slow and live is not None:
        what = f"take {1000 * seconds:.3g} ms, while the live version takes {1000 * live:.3g} ms"
        if evident(_late(pairs, policy)):
            wrong = f"its answers are right, but {what}; the policy's slowdown allows {policy.slowdown:g} times as long"
        else:
            note = f"its answers {what}, but {len(pairs)} pairs of answers are no evidence that it is slower"
    figures = {"median ms": 1000 * seconds} | ({"live version's ms": 1000 * live} if live is not None else {})
    return Finding(Speed.name, subject.replica, asked, wrong, figures, note=note)


def _late(pairs: Sequence[tuple[float, float]], policy: Policy) -> list[float]:
    """How much later than allowed each answer came, beside the live version's to the same; negative if in time."""
    return [new - max(policy.always_fast, policy.slowdown * live) for new, live in pairs]


def evident(late: Sequence[float]) -> bool:
    """Whether so many answers come too late, and by so much, that it is no chance: Wilcoxon's signed-rank test."""
    from scipy.stats import wilcoxon

    return bool(wilcoxon(late, alternative="greater").pvalue < _ERROR)


CHECK: Check = Speed()

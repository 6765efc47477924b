"""What two models' answers to the same rows come to: figures, findings and words. Nothing is asked here."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from tasks.data.examples import Examples
from tasks.errors import InvalidModel, NotServable
from tasks.evaluation import paired
from tasks.evaluation.metrics import (
    CLASS_ACCURACY,
    Answers,
    Figure,
    Score,
    class_names,
    evaluate,
    metric_in_words,
    value_in_words,
)
from tasks.evaluation.paired import Difference
from tasks.policy import MetricRule, Policy
from tasks.records import Comparison, GroupFigures, MetricFinding, Scored
from tasks.wire.dtypes import Array

_MOST_VALUES = 20  # of a feature by which the held-out rows are told apart
_MOST_SLICED = 10  # features
_LONGEST_VALUE = 40  # characters of one in a report
_RESAMPLES, _MOST_INDICES = 500, 10_000_000  # for a recipe's own score, and row numbers in all of them
_SEED = 20


@dataclass(frozen=True, eq=False)
class Figures:
    """The figures of a new model, and of the live version if one was asked, on the same rows."""

    difference: Callable[[str, float], Difference]  # of a metric that both have; how often its interval may miss
    groups: tuple[GroupFigures, ...]
    new: Mapping[str, float]
    live: Mapping[str, float] = field(default_factory=dict)


def figures(
    held_out: Examples, answers: Sequence[Answers], scored: Sequence[Scored], score: Score | None = None
) -> Figures:
    """The figures of one or two models, the new one first, which answered all held-out rows.

    Args:
        scored: what each was asked.
        score: the recipe's own; None: the figures by the kind of each label.

    Raises:
        NotServable: answers that cannot be scored.
        InvalidModel: `score` gives no number for the new model.
    """
    groups = list(_groups(held_out, scored[0]))
    if score is not None:
        return _by_own_score(held_out, answers, groups, score)
    several = len(scored[0].outputs) > 1
    found = []
    for answered, by, which in zip(answers, scored, ("trained model", "live version"), strict=False):
        try:
            found.append(evaluate(held_out.labels, answered, by.outputs, several).figures)
        except NotServable as error:
            raise NotServable(f"The {which} cannot be scored: {error}") from None

    def of_group(each: Mapping[str, Figure], where: Array) -> dict[str, float]:
        whole = {name: figure for name, figure in each.items() if CLASS_ACCURACY not in name}
        return {name: Figure(figure.rows[where], figure.of).value for name, figure in whole.items()}

    return Figures(
        lambda metric, error: paired.compared(found[0][metric], found[1][metric], error),
        tuple(GroupFigures(g, int(where.sum()), *(of_group(each, where) for each in found)) for g, where in groups),
        *({name: figure.value for name, figure in each.items()} for each in found),
    )


def _by_own_score(
    held_out: Examples, answers: Sequence[Answers], groups: Sequence[tuple[str, Array]], score: Score
) -> Figures:
    rows = len(held_out)
    resamples = max(2, min(_RESAMPLES, _MOST_INDICES // rows)) if len(answers) > 1 else 0
    drawn = np.random.default_rng(_SEED).integers(0, rows, (resamples, rows))
    found = score(held_out.labels, answers, [np.arange(rows), *(np.flatnonzero(where) for _, where in groups), *drawn])

    def of_set(number: int) -> list[dict[str, float]]:
        """The figures of each model on a set of rows, as far as they are numbers."""
        each = [{name: float(values[n, number]) for name, values in found.items()} for n in range(len(answers))]
        return [{name: value for name, value in of.items() if np.isfinite(value)} for of in each]

    new, *live = of_set(0)
    nothing = ", ".join(sorted(found.keys() - new.keys()))
    if nothing:
        raise InvalidModel(f"The recipe's score gives no finite number for {nothing} of the trained model.")

    def difference(metric: str, error: float) -> Difference:
        of_new, of_live = found[metric][:, 1 + len(groups) :]
        return paired.resampled(new[metric], live[0][metric], of_new - of_live, rows, error)

    of_groups = (GroupFigures(g, int(where.sum()), *of_set(1 + n)) for n, (g, where) in enumerate(groups))
    return Figures(difference, tuple(of_groups), new, *live)


def _groups(held_out: Examples, scored: Scored) -> Iterable[tuple[str, Array]]:
    """The rows of each class, and those with each value of a feature that has few: bool `[N]`, by what they are."""
    for label, output in scored.outputs.items():
        if output.kind in ("classes", "binary"):
            names = class_names(held_out.labels[label], output.classes)
            yield from ((f"{label} is {name[:_LONGEST_VALUE]}", names == name) for name in np.unique(names).tolist())
    sliced = 0
    for feature, array in {**held_out.slices, **held_out.features}.items():
        if array.dtype.kind not in "OSUiub" or array.size != len(array) or sliced == _MOST_SLICED:
            continue
        values, numbers = np.unique(class_names(array), return_inverse=True)
        if 2 <= len(values) <= _MOST_VALUES:
            sliced += 1
            yield from ((f"{feature} is {v[:_LONGEST_VALUE]}", numbers == n) for n, v in enumerate(values.tolist()))


def compare_figures(figures: Figures, live_version: int | None, policy: Policy) -> Comparison:
    """Compare two models by the metrics that the policy has a rule for and that both were measured by; pure."""
    rules = {name: rule for name in figures.new if (rule := policy.rule(name)) is not None}
    both = [name for name in rules if name in figures.live]
    # One of many classes is worse by chance more often than a single one: together they may err as often as one figure.
    classes = max(1, sum(CLASS_ACCURACY in name for name in both))
    findings = tuple(
        _finding(name, rules[name], figures.difference(name, paired.ERROR / (classes if CLASS_ACCURACY in name else 1)))
        for name in both
    )
    worse = tuple(
        f"{metric_in_words(f.metric)} {value_in_words(f.metric, f.new)}, that of the live version is "
        f"{value_in_words(f.metric, f.live)} (by {f.rows}, {f.interval})"
        for f in findings
        if f.verdict == "worse"
    )
    unmet = [
        f"{metric_in_words(name)} is {value_in_words(name, figures.new[name])}, its floor {floor_in_words(rule)}"
        for name, rule in rules.items()
        if not rule.reached(figures.new[name])
    ]
    if policy.cannot_tell == "refuse":
        unmet += [f"{in_sentence(f)}; its policy refuses what cannot be told" for f in _untold(findings)]
    why = None if live_version is None or findings else _why_no_finding(figures, policy)
    return Comparison(
        figures.new,
        figures.live,
        live_version,
        worse,
        findings=findings,
        groups=tuple(_of_rules(group, rules) for group in figures.groups),
        unmet=tuple(unmet),
        uncompared=why,
    )


def _of_rules(group: GroupFigures, rules: Mapping[str, MetricRule]) -> GroupFigures:
    new, live = ({name: value for name, value in of.items() if name in rules} for of in (group.new, group.live))
    return replace(group, new=new, live=live)


def _why_no_finding(figures: Figures, policy: Policy) -> str:
    both = ", ".join(sorted(figures.new.keys() & figures.live.keys())) or "nothing"
    return f"both were measured by {both}, and the policy has rules for {', '.join(sorted(policy.metrics))}"


def _finding(metric: str, rule: MetricRule, found: Difference) -> MetricFinding:
    verdict = paired.judged(found, rule)
    needed = paired.rows_needed(found, rule) if verdict == "cannot tell" else None
    return MetricFinding(metric, verdict, found.new, found.live, found.low, found.high, found.n, needed)


def _untold(findings: Iterable[MetricFinding]) -> list[MetricFinding]:
    """The metrics of which it cannot be told. A class has few rows, and its rule is for one that was unlearnt."""
    return [f for f in findings if f.verdict == "cannot tell" and CLASS_ACCURACY not in f.metric]


def floor_in_words(rule: MetricRule) -> str:
    """What a rule's floor asks for."""
    return f"at {'least' if rule.better == 'higher' else 'most'} {rule.floor:g}"


def in_sentence(found: MetricFinding) -> str:
    """Why it cannot be told by a metric whether a model is worse, and what it would take."""
    would = f"; about {found.rows_needed:,} rows would tell" if found.rows_needed is not None else ""
    few = "is" if found.n == 1 else "are"
    return f"by {metric_in_words(found.metric)}, {found.rows} {few} too few: {found.interval}{would}"


def in_words(model: str, comparison: Comparison) -> str:
    """A comparison in one line, with all its notes."""
    live = comparison.live_version
    parts = [
        f"{metric_in_words(f.metric)} {value_in_words(f.metric, f.new)}, version {live} has "
        f"{value_in_words(f.metric, f.live)}."
        for f in comparison.findings
        if CLASS_ACCURACY not in f.metric
    ]
    if live is not None:
        parts.append(verdict_in_words(comparison))
    parts += [f"Not what its policy demands: {'; '.join(comparison.unmet)}."] if comparison.unmet else []
    parts += comparison.notes
    if comparison.ungated is not None:
        parts.append(f"Ungated: {comparison.ungated}")
    if comparison.forced is not None:
        parts.append(f"Forced: {comparison.forced}")
    return f"{model}: {' '.join(parts)}"


def verdict_in_words(comparison: Comparison) -> str:
    """What a comparison with the live version comes to."""
    live = comparison.live_version
    not_compared = f"Not compared with version {live}: {comparison.uncompared}." if comparison.uncompared else ""
    if comparison.worse:
        finding = comparison.finding.removeprefix("is ").capitalize()
        return f"{finding}: {'; '.join(comparison.worse)}. {not_compared}".strip()
    if not_compared:
        return not_compared
    untold = _untold(comparison.findings)
    if untold:
        return f"Cannot tell whether it is worse than version {live}: {'; '.join(map(in_sentence, untold))}."
    deciding = [f.verdict for f in comparison.findings if CLASS_ACCURACY not in f.metric]
    return f"{'Better' if 'better' in deciding else 'Not worse'} than version {live}."

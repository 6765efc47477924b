"""What two models' answers to the same rows come to, and what passes the gate."""

import dataclasses
import re
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from tasks.data.examples import Examples
from tasks.errors import GateFailed, InvalidModel
from tasks.evaluation.metrics import Answers
from tasks.policy import Policy
from tasks.records import Comparison, GroupFigures, MetricFinding, OutputKind, Scored, ScoredOutput
from tasks.validation.comparison import compare_figures, figures, in_words
from tasks.wire.dtypes import Array
from tests.helpers.policies import policy

RULES = policy(metrics={"accuracy": {"tolerance": 0.02}, "accuracy_class": {"tolerance": 0.15}})
LABELS = np.arange(1000) % 10


def scored(kind: OutputKind = "classes", *classes: str) -> Scored:
    return Scored("call", {"x": "x"}, {"y": ScoredOutput("out", kind, classes)})


def answered(wrong: Sequence[int]) -> Array:
    """Class numbers of the labels, but for these rows."""
    return np.where(np.isin(np.arange(1000), wrong), (LABELS + 1) % 10, LABELS)


def compared(new: Array, live: Array, rules: Policy = RULES, **features: Array) -> Comparison:
    held_out = Examples(features or {"x": np.zeros(len(new))}, {"y": LABELS[: len(new)]})
    found = figures(held_out, [{"y": new}, {"y": live}], [scored(), scored()])
    return compare_figures(found, 6, rules)


def verdicts(found: Comparison) -> dict[str, str]:
    return {f.metric: f.verdict for f in found.findings if "class" not in f.metric}


LIVE = answered(range(0, 100, 2))


def test_the_same_answers_are_not_worse_and_better_ones_are_better() -> None:
    same, better = compared(LIVE, LIVE), compared(answered(range(0, 100, 10)), LIVE)
    assert (verdicts(same), verdicts(better)) == ({"accuracy": "not worse"}, {"accuracy": "better"})
    for found in (same, better):
        found.require_passed()
        assert found.worse == ()
    assert in_words("MLP", same) == "MLP: accuracy 0.9500, version 6 has 0.9500. Not worse than version 6."
    assert in_words("MLP", better) == "MLP: accuracy 0.9900, version 6 has 0.9500. Better than version 6."


def test_a_model_that_is_worse_does_not_pass_and_is_told_by_how_much() -> None:
    found = compared(answered(range(0, 100, 1)), LIVE)
    told = "accuracy 0.9000, that of the live version is 0.9500 (by 1,000 held-out rows, the difference lies between"
    with pytest.raises(GateFailed, match=f"model is worse than version 6, which serves: {re.escape(told)}"):
        found.require_passed()
    assert found.worse[0] == f"{told} -0.06352 and -0.03648)"
    assert in_words("MLP", found).startswith(
        f"MLP: accuracy 0.9000, version 6 has 0.9500. Worse than version 6: {told}"
    )


def test_a_model_that_is_worse_by_no_more_than_the_tolerance_passes() -> None:
    assert compared(answered(range(0, 120, 2)), LIVE).passed


def test_a_model_that_has_unlearnt_one_class_does_not_pass_however_good_overall() -> None:
    found = compared(answered(range(7, 1000, 10)), answered(range(0, 1000, 4)))
    assert verdicts(found) == {"accuracy": "better"}
    (worse,) = found.worse
    assert worse.startswith("accuracy of class 7 0.0000, that of the live version is 1.0000 ")
    assert not found.passed


def test_a_class_of_few_rows_is_not_refused_by_chance() -> None:
    new, live = answered([7, 17, 27])[:60], answered([])[:60]
    found = compared(new, live)
    assert found.trained["accuracy_class_7"] == 0.5
    assert found.passed, "three wrong of six are no evidence"


def test_what_cannot_be_told_passes_and_is_said_unless_the_policy_refuses_it() -> None:
    new, live = answered([3, 14, 25, 36])[:60], answered([3])[:60]
    found = compared(new, live)
    found.require_passed()
    (finding,) = [f for f in found.findings if f.metric == "accuracy"]
    assert (finding.verdict, finding.n) == ("cannot tell", 60)
    assert finding.rows_needed is not None
    assert in_words("MLP", found) == (
        "MLP: accuracy 0.9333, version 6 has 0.9833. Cannot tell whether it is worse than version 6: by accuracy, 60 "
        f"held-out rows are too few: {finding.interval}; about {finding.rows_needed:,} rows would tell."
    )
    strict = dataclasses.replace(RULES, cannot_tell="refuse")
    with pytest.raises(GateFailed, match=r"not what its policy demands: by accuracy, 60 held-out rows are too few.*"):
        compared(new, live, strict).require_passed()
    assert compared(LIVE, LIVE, strict).passed, "of a class alone it never refuses"


def test_a_floor_holds_whatever_serves() -> None:
    rules = policy(metrics={"accuracy": {"floor": 0.97}, "mae": {"floor": 3.0}})
    found = compared(answered(range(0, 100, 2)), answered(range(0, 100, 1)), rules)
    assert found.unmet == ("accuracy is 0.9500, its floor at least 0.97",)
    with pytest.raises(GateFailed, match=r"not what its policy demands: accuracy is 0\.9500, .*--force REASON"):
        found.require_passed()
    assert compared(answered(range(0, 10, 2)), LIVE, rules).passed


def test_a_regression_is_compared_by_its_errors() -> None:
    random = np.random.default_rng(0)
    prices = random.uniform(50, 500, 300)
    held_out = Examples({"x": prices, "rooms": random.integers(1, 5, 300)}, {"y": prices})
    bad, good = prices + random.normal(0, 20, 300), prices + random.normal(0, 5, 300)
    found = [
        compare_figures(figures(held_out, [{"y": a}, {"y": b}], [scored("numbers")] * 2), 6, RULES)
        for a, b in ((bad, good), (good, bad))
    ]
    assert [verdicts(each) for each in found] == [{"mae": "worse"}, {"mae": "better"}]
    assert found[0].trained.keys() == {"mae", "rmse", "r2"}
    assert "accuracy" not in in_words("Flats", found[0])
    assert [(g.group, g.new.keys()) for g in found[0].groups] == [(f"rooms is {n}", {"mae"}) for n in (1, 2, 3, 4)]
    assert sum(g.n for g in found[0].groups) == 300


def test_figures_are_told_by_class_and_by_the_values_of_a_column_that_has_few() -> None:
    town = np.where(np.arange(1000) < 100, "Rome", "Oslo")
    found = compared(answered(range(0, 100, 2)), answered([]), RULES, town=town, number=np.arange(1000))
    assert GroupFigures("town is Rome", 100, {"accuracy": 0.5}, {"accuracy": 1.0}) in found.groups
    assert GroupFigures("town is Oslo", 900, {"accuracy": 1.0}, {"accuracy": 1.0}) in found.groups
    assert GroupFigures("y is 2", 100, {"accuracy": 0.9}, {"accuracy": 1.0}) in found.groups
    assert len(found.groups) == 12, "a number that is another in each row tells nothing apart"


def test_versions_that_number_their_classes_differently_are_compared_by_name() -> None:
    held_out = Examples({"x": np.zeros(4)}, {"y": np.array(["cat", "dog", "dog", "cat"])})
    answers = [{"y": np.array([0, 1, 1, 0])}, {"y": np.array([1, 0, 0, 1])}]
    found = figures(held_out, answers, [scored("classes", "cat", "dog"), scored("classes", "dog", "cat")])
    assert found.new == found.live == {"accuracy": 1.0, "accuracy_class_cat": 1.0, "accuracy_class_dog": 1.0}


def test_of_several_labels_those_count_that_both_models_answer_for() -> None:
    numbers = ScoredOutput("out", "numbers")
    new, live = Scored("call", {}, {"price": numbers, "rent": numbers}), Scored("call", {}, {"price": numbers})
    label = np.arange(50.0)
    held_out = Examples({"x": np.arange(50.0)}, {"price": label, "rent": label})
    found = figures(held_out, [{"price": label + 9, "rent": label}, {"price": label + np.sin(label)}], [new, live])
    comparison = compare_figures(found, 6, RULES)
    assert verdicts(comparison) == {"price/mae": "worse"}
    assert comparison.worse[0].startswith("mae of price 9, that of the live version is 0.6")


def test_of_equal_models_fewer_than_one_in_twenty_is_refused_by_any_class() -> None:
    random, rules = (
        np.random.default_rng(5),
        policy(metrics={"accuracy": {"tolerance": 0}, "accuracy_class": {"tolerance": 0}}),
    )
    labels = np.arange(300) % 10
    held_out, refused = Examples({"x": np.arange(300.0)}, {"y": labels}), 0
    for _ in range(100):
        wrong = random.random((2, 300)) < random.random(300) * 0.4
        new, live = (np.where(each, (labels + 1) % 10, labels) for each in wrong)
        found = figures(held_out, [{"y": new}, {"y": live}], [scored(), scored()])
        refused += not compare_figures(found, 6, rules).passed
    assert refused < 5


def test_models_that_share_no_metric_with_a_rule_are_not_called_compared() -> None:
    held_out = Examples({"x": np.zeros(4)}, {"y": np.arange(4)})
    found = figures(held_out, [{"y": np.arange(4)}] * 2, [scored("classes"), scored("numbers")])
    comparison = compare_figures(found, 6, RULES)
    assert comparison.uncompared is not None
    assert comparison.uncompared.startswith("both were measured by nothing, and the policy has rules for accuracy, ")
    assert not comparison.passed


# A recipe's own score


def pinball(labels: Mapping[str, Array], answers: Sequence[Answers], rows: Sequence[Array]) -> dict[str, Array]:
    """By how much each model is off, on each set of rows; low numbers are nine times as bad."""
    off = [labels["y"] - each["y"] for each in answers]
    return {"pinball": np.array([[np.maximum(0.9 * e[r], -0.1 * e[r]).mean() for r in rows] for e in off])}


def test_a_recipes_own_score_decides_by_resamples_of_the_same_rows() -> None:
    random = np.random.default_rng(0)
    held_out = Examples({"x": np.arange(300), "town": np.array(["a", "b"] * 150)}, {"y": random.normal(size=300)})
    low, high = held_out.labels["y"] - 0.5, held_out.labels["y"] + 0.5 + random.normal(0, 0.1, 300)
    rules = policy(metrics={"pinball": {"better": "lower", "tolerance": 0.1}})
    found = figures(held_out, [{"y": low}, {"y": high}], [scored("numbers")] * 2, pinball)
    comparison = compare_figures(found, 6, rules)
    assert comparison.trained == {"pinball": pytest.approx(0.45)}
    assert verdicts(comparison) == {"pinball": "worse"}
    assert [(g.group, g.n) for g in comparison.groups] == [("town is a", 150), ("town is b", 150)]
    back = compare_figures(figures(held_out, [{"y": high}, {"y": low}], [scored("numbers")] * 2, pinball), 6, rules)
    assert verdicts(back) == {"pinball": "better"}
    alone = figures(held_out, [{"y": low}], [scored("numbers")], pinball)
    assert (alone.new, alone.live) == ({"pinball": pytest.approx(0.45)}, {})


def test_a_score_that_is_no_number_is_refused_of_the_new_model_and_counts_not_of_the_live_one() -> None:
    held_out = Examples({"x": np.zeros(4)}, {"y": np.zeros(4)})
    nothing, there = {"y": np.full(4, np.nan)}, {"y": np.ones(4)}
    with pytest.raises(InvalidModel, match="no finite number for pinball of the trained model"):
        figures(held_out, [nothing, there], [scored("numbers")] * 2, pinball)
    assert figures(held_out, [there, nothing], [scored("numbers")] * 2, pinball).live == {}


# What passes


def test_a_model_that_breaks_clients_is_not_called_worse_unless_it_is() -> None:
    missing, less = "signature 'call' is missing", "accuracy 0.5000, that of the live version is 0.9500"
    with pytest.raises(
        GateFailed, match=r"model breaks clients of version 6, which serves: signature 'call' is missing\."
    ):
        Comparison({}, {}, 6, (missing,)).require_passed()
    with pytest.raises(GateFailed, match=r"breaks clients and is worse than version 6, .*is missing; accuracy 0\.5"):
        Comparison({}, {}, 6, (missing, less)).require_passed()


def test_a_worse_model_passes_with_a_reason_that_is_kept() -> None:
    found = dataclasses.replace(compared(answered(range(200)), LIVE), forced="the live one leaks")
    found.require_passed()
    assert found.worse
    assert in_words("MLP", found).endswith("Forced: the live one leaks")
    assert Comparison.from_json(found.to_json(), "here") == found


def test_where_nothing_can_be_compared_a_model_is_refused_unless_a_reason_is_given_and_never_called_not_worse() -> None:
    found = Comparison({}, {}, 1, uncompared="neither it nor version 1 came with held-out examples")
    with pytest.raises(GateFailed, match=r"Nothing tells whether .* version 1, .*neither it nor .*--ungated REASON"):
        found.require_passed()
    ungated = dataclasses.replace(found, ungated="prices rose")
    ungated.require_passed()
    said = in_words("Price", ungated)
    assert said == (
        "Price: Not compared with version 1: neither it nor version 1 came with held-out examples. Ungated: prices rose"
    )
    breaks = dataclasses.replace(ungated, worse=("signature 'call' is missing",))
    with pytest.raises(GateFailed, match="breaks clients of version 1"):
        breaks.require_passed()
    assert "Not compared with version 1" in in_words("Price", breaks)
    assert "orse than" not in said + in_words("Price", breaks)


def test_what_an_earlier_release_compared_is_told_as_it_was_found() -> None:
    old = Comparison({"accuracy": 0.9}, {"accuracy": 0.95}, 6, ("accuracy 0.9000, that of the live version is 0.9500",))
    assert "Worse than version 6: accuracy 0.9000" in in_words("MLP", old)
    assert in_words("MLP", Comparison({}, {}, None, notes=("Nothing serves.",))) == "MLP: Nothing serves."
    finding = MetricFinding("mae", "cannot tell", 1.0, 2.0, None, None, 1)
    assert "1 held-out row is too few" in in_words("MLP", Comparison({}, {}, 6, findings=(finding,)))

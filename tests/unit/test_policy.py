"""A policy as a value: read from files, changed in part, and refused by name."""

from pathlib import Path

import pytest

from tasks.errors import InvalidInput
from tasks.policy import MetricRule, Policy, Values, flat, origin, read_values
from tasks.settings import Settings
from tests.helpers.policies import POLICY, policy


def test_a_policy_has_what_the_settings_say() -> None:
    found = Policy.of(Settings(gate_class_tolerance=0.3, answer_budget=0.2, quorum=0.5))
    assert (found.answer_budget, found.quorum) == (0.2, 0.5)
    assert found.rule("accuracy_class_7") == MetricRule("higher", 0.3)


def test_what_a_file_does_not_name_stays() -> None:
    changed = policy(slowdown=3, metrics={"accuracy": {"tolerance": 0.1}})
    assert (changed.slowdown, changed.metrics["accuracy"]) == (3.0, MetricRule("higher", 0.1))
    assert changed.metrics["accuracy_class"] == POLICY.metrics["accuracy_class"]
    assert changed.soak == POLICY.soak
    assert POLICY.changed({}, "nothing") == POLICY == POLICY.changed(POLICY.values(), "all")


def test_outputs_are_compared_as_the_policy_names_them_on_top_of_what_held_before() -> None:
    first = policy(compare={"sample": "shape"})
    second = first.changed({"compare": {"noise": "shape"}}, "another")
    assert (POLICY.compare, first.compare) == ({}, {"sample": "shape"})
    assert second.compare == {"sample": "shape", "noise": "shape"}
    assert second == POLICY.changed(second.values(), "all")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"answer_budgit": 1}, r"rule\.toml: a policy has no value answer_budgit\. Is answer_budget meant\?"),
        ({"metrics": {"acuracy": {}}}, r"no value metrics\.acuracy\. Is metrics\.accuracy meant\? It has metrics\.acc"),
        ({"metrics": {"accuracy": {"by": 1}}}, r"no value metrics\.accuracy\.by\. It has metrics\.accuracy\.better"),
        ({"slowdown": 0.5}, r"slowdown = 0\.5 cannot be: Input should be greater than or equal to 1"),
        ({"soak": "long"}, r"soak = 'long' cannot be: Input should be a valid number"),
        ({"soak": True}, r"soak = True cannot be"),
        ({"soak": "long " * 99}, r"soak = 'long long .{,40}' cannot be"),
        ({"soak": 1e300}, r"soak = 1e\+300 cannot be: Input should be less than or equal to 2592000"),
        ({"load_deadline": 1e300}, r"load_deadline = 1e\+300 cannot be"),
        ({"soak": float("inf")}, r"soak = inf cannot be: Input should be a finite number"),
        ({"answer_budget": float("nan")}, r"answer_budget = nan cannot be"),
        ({"speed_tries": 1.5}, r"speed_tries = 1\.5 cannot be"),
        ({"compare": {"y": "shapes"}}, r"compare\.y = 'shapes' cannot be: Input should be 'shape'"),
        ({"compare": "shape"}, r"compare = 'shape' cannot be"),
        ({"quorum": 0}, r"quorum = 0 cannot be: Input should be greater than 0"),
        ({"metrics": 3}, r"metrics = 3 cannot be"),
        ({"metrics": {"accuracy": 3}}, r"metrics\.accuracy = 3 cannot be"),
        (
            {"metrics": {"accuracy": {"better": "more"}}},
            r"better = 'more' cannot be: Input should be 'higher' or 'lower'",
        ),
    ],
)
def test_what_is_not_known_or_cannot_be_is_refused_by_its_name(values: Values, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        POLICY.changed(values, "rule.toml")


def test_a_metric_of_a_models_own_needs_to_say_what_is_better() -> None:
    changed = policy(metrics={"pinball": {"better": "lower", "floor": 3}})
    assert changed.rule("pinball") == MetricRule("lower", floor=3.0)
    assert changed.rule("accuracy") == POLICY.rule("accuracy")
    with pytest.raises(InvalidInput, match=r"no value metrics\.pinball\.by\. It has metrics\.pinball\.better"):
        policy(metrics={"pinball": {"better": "lower", "by": 3}})
    with pytest.raises(InvalidInput, match=r"no value metrics\.pinball\."):
        policy(metrics={"pinball": {"floor": 3}})


def test_a_floor_is_reached_in_the_metrics_own_direction() -> None:
    accuracy, error = MetricRule("higher", floor=0.5), MetricRule("lower", floor=60)
    assert [accuracy.reached(value) for value in (0.9, 0.5, 0.4, float("nan"))] == [True, True, False, False]
    assert [error.reached(value) for value in (10, 60, 61)] == [True, True, False]
    assert MetricRule("higher").reached(-1e9)


def test_a_rule_is_found_for_a_metric_for_each_class_and_number_and_for_each_label() -> None:
    assert POLICY.rule("accuracy") == POLICY.rule("kind/accuracy") == POLICY.metrics["accuracy"]
    for name in ("accuracy_class_12", "accuracy_class_big_cat", "kind/accuracy_class_7"):
        assert POLICY.rule(name) == POLICY.metrics["accuracy_class"]
    assert policy(metrics={"recall": {"better": "higher"}}).rule("recall_7") == MetricRule("higher")
    assert policy(metrics={"kind/accuracy": {"better": "lower"}}).rule("kind/accuracy") == MetricRule("lower")
    assert POLICY.rule("mae") == MetricRule("lower")
    assert POLICY.rule("f1") == MetricRule("higher")
    assert POLICY.rule("loss") is None
    assert POLICY.rule("accuracy_at_k") is None


def test_a_policy_is_read_from_toml_and_from_json(tmp_path: Path) -> None:
    (tmp_path / "rule.toml").write_text("soak = 5\n[metrics.accuracy]\ntolerance = 0.1\n", "utf-8-sig")
    (tmp_path / "rule.json").write_text('{"soak": 5, "metrics": {"accuracy": {"tolerance": 0.1}}}')
    toml, json = (read_values(tmp_path / name) for name in ("rule.toml", "rule.json"))
    assert toml == json == {"soak": 5, "metrics": {"accuracy": {"tolerance": 0.1}}}
    assert flat(toml) == {"soak": 5, "metrics.accuracy.tolerance": 0.1}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("none.toml", None, "cannot be read .*No such file"),
        ("rule.toml", b"soak: 5", "is not TOML: "),
        ("rule.toml", b"soak = \xff", "is not TOML: "),
        ("rule.json", b"soak = 5", "is not JSON: "),
        ("rule.json", b"[5]", "not an object of values by name"),
        ("deep.json", b"[" * 100_000, "is not JSON"),
        ("deep.toml", b"soak = " + b"[" * 100_000, "is not TOML"),
    ],
)
def test_a_file_that_is_not_a_policy_is_refused(tmp_path: Path, name: str, content: bytes | None, said: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidInput, match=said):
        read_values(tmp_path / name)


def test_a_value_comes_from_a_variable_of_the_environment_or_is_the_default() -> None:
    mine = Settings(gate_tolerance=0.1, soak=3.0)
    assert [origin(name, mine) for name in ("metrics.accuracy.tolerance", "soak", "quorum", "always_fast")] == [
        "SLIPWAY_GATE_TOLERANCE",
        "SLIPWAY_SOAK",
        "default",
        "default",
    ]

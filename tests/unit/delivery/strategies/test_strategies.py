"""A strategy is one file, known by its name; whatever it plans is safe, or refused."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations

import pytest

from tasks.delivery import strategies
from tasks.delivery.plan import entry_to_restore, plan_rollout
from tasks.delivery.stages import Stage, Start, final, trial
from tasks.errors import InvalidInput
from tasks.fleet.config import FleetConfig, Serving, live_version, serving_entry, servings, with_entries
from tasks.serving.client import Target
from tasks.wire.protos import ModelServerConfig

REPLICAS = ("r1", "r2", "r3")


def serving(*versions: int, **labels: int) -> FleetConfig:
    entry = serving_entry("MLP", "s3://b/models/MLP", versions, labels)
    return FleetConfig(5, with_entries(ModelServerConfig(), {"MLP": entry}))


STABLE_BEFORE: tuple[dict[str, int], ...] = ({}, *({"stable": n} for n in (1, 2, 3)))
BEFORE = [
    FleetConfig(0, ModelServerConfig()),
    *(
        serving(*loaded, **labels)
        for count in (1, 2, 3)
        for loaded in combinations((1, 2, 3), count)
        for labels in STABLE_BEFORE
        if not labels or labels["stable"] in loaded
    ),
]


def test_a_strategy_is_found_by_its_files_name_and_by_an_old_one() -> None:
    assert {"blue-green", "labels"} <= set(strategies.known())
    assert strategies.strategy_named("candidate") is strategies.strategy_named("blue-green")
    assert [strategies.present_name(name) for name in ("labels", "candidate")] == ["labels", "blue-green"]


@pytest.mark.parametrize("name", ["canary", "blue_green", ""])
def test_a_strategy_that_is_not_known_is_refused_with_those_that_are(name: str) -> None:
    with pytest.raises(InvalidInput, match=f"'{name}' is not known: use 'blue-green'.* or '"):
        strategies.strategy_named(name)


@pytest.mark.parametrize("strategy", strategies.known())
@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_whoever_names_no_version_meets_the_live_one_until_it_is_accepted_and_the_new_one_in_the_end(
    version: int, strategy: str
) -> None:
    for before in BEFORE:
        live, accepted = live_version(before, "MLP"), False
        states: list[Mapping[str, Serving]] = [servings(before)]
        for stage in plan_rollout(before, "MLP", version, strategy, REPLICAS, soak=1.0).stages:
            states.append({**states[-1], **{s.name: s for s in stage.servings}})
            meant = {live, version} if accepted else {live}
            mine = states[-1].get("MLP", Serving("MLP", (), {}))
            assert max(mine.versions, default=None) in meant, (before, stage)
            assert set(mine.labels.values()) <= meant, (before, stage)
            accepted |= stage.accepts
        assert max(states[-1]["MLP"].versions) == version
        assert set(states[-1]["MLP"].labels.values()) <= {version}
        assert states[-1].get("MLP-candidate", Serving("", (), {})).versions == ()


def test_what_an_abort_restores_has_nothing_above_the_live_version() -> None:
    for before in BEFORE[1:]:
        live, back = live_version(before, "MLP"), entry_to_restore(before, "MLP")
        assert back is not None
        assert max(back.model_version_policy.specific.versions) == live, before
        assert set(back.version_labels.values()) <= {live}, before


START = Start("MLP", 7, Serving("MLP", (6,), {}), REPLICAS, 0.0)
TRIAL, FINAL = trial(START, START.alone), final(START, START.alone)
IN_PLACE = Stage("beside", (Serving("MLP", (6, 7), {}),), Target("MLP", version=7), accepts=True)
OTHER = Stage("other", (Serving("MLP-shadow", (7,), {}),), Target("MLP-shadow"))


@pytest.mark.parametrize(
    ("stages", "why"),
    [
        ((IN_PLACE, FINAL), "stage 'beside' loads MLP 7 above the live version before it is accepted"),
        ((FINAL, TRIAL, FINAL), "stage 'final' loads MLP 7 above the live version before it is accepted"),
        ((replace(TRIAL, accepts=False), FINAL), "exactly one of its stages has to accept the version"),
        ((TRIAL, TRIAL, FINAL), "exactly one of its stages has to accept the version"),
        ((replace(FINAL, accepts=True),), "and not the last"),
        ((), "exactly one of its stages"),
        ((TRIAL, OTHER, FINAL), "it changes MLP-shadow too"),
        ((TRIAL, replace(FINAL, only=("r1",))), "its last stage has to have all replicas serve 7 to clients"),
        ((TRIAL, replace(FINAL, servings=FINAL.servings[:1])), "and nothing on trial"),
        ((TRIAL, replace(FINAL, servings=FINAL.servings[1:])), "its last stage has to have all replicas serve 7"),
    ],
)
def test_a_plan_that_could_harm_clients_or_not_be_recovered_is_refused(
    stages: tuple[Stage, ...], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strategies, "strategy_named", lambda _: lambda _: stages)
    with pytest.raises(InvalidInput, match=f"Strategy 'labels' is not safe: .*{why}.* Nothing was changed"):
        plan_rollout(serving(6), "MLP", 7, "labels")


def test_a_first_version_is_not_served_under_the_models_name_before_it_is_accepted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at_once = Stage("at once", (Serving("MLP", (1,), {}),), Target("MLP"), accepts=True)
    monkeypatch.setattr(strategies, "strategy_named", lambda _: lambda _: (at_once, at_once))
    with pytest.raises(InvalidInput, match="'labels' is not safe"):
        plan_rollout(FleetConfig(0, ModelServerConfig()), "MLP", 1, "labels")

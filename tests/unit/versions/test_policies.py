"""Which policy holds for a run: what is given with it, else the model's own, else the settings."""

import pytest

from tasks.errors import Corrupt, InvalidInput, InvalidName
from tasks.policy import Policy
from tasks.settings import Settings
from tasks.store import keys
from tasks.store.base import Store
from tasks.versions.policies import ModelPolicy, choose_policy, model_policy, set_policy

MINE = Settings(soak=1.0, slowdown=2.0, answer_budget=3.0)


def test_a_model_without_a_policy_goes_by_the_settings(store: Store) -> None:
    assert model_policy(store, "MLP") is None
    assert choose_policy(store, MINE, "MLP") == Policy.of(MINE)


def test_what_is_given_goes_before_the_models_own_and_that_before_the_settings(store: Store) -> None:
    set_policy(store, MINE, "MLP", {"slowdown": 20, "answer_budget": 30}, "a file")
    found = choose_policy(store, MINE, "MLP", {"answer_budget": 300})
    assert (found.soak, found.slowdown, found.answer_budget) == (1.0, 20.0, 300.0)
    assert choose_policy(store, MINE, "other") == Policy.of(MINE)


def test_what_was_chosen_once_holds_whatever_is_set_meanwhile(store: Store) -> None:
    chosen = choose_policy(store, MINE, "MLP", {"slowdown": 20})
    set_policy(store, MINE, "MLP", {"soak": 10}, "a file")
    assert choose_policy(store, Settings(soak=100.0), "MLP", chosen.values()) == chosen


def test_a_policy_takes_the_place_of_the_one_before(store: Store) -> None:
    set_policy(store, MINE, "MLP", {"slowdown": 20}, "a file")
    set_policy(store, MINE, "MLP", {"soak": 10}, "another")
    assert choose_policy(store, MINE, "MLP").slowdown == 2.0
    own = model_policy(store, "MLP")
    assert own is not None
    assert own.values == {"soak": 10}


def test_a_policy_that_cannot_be_is_refused_and_the_one_before_stays(store: Store) -> None:
    set_policy(store, MINE, "MLP", {"slowdown": 20}, "a file")
    with pytest.raises(InvalidInput, match=r"a file: a policy has no value slow_down\. Is slowdown meant\?"):
        set_policy(store, MINE, "MLP", {"slow_down": 20}, "a file")
    with pytest.raises(InvalidName):
        set_policy(store, MINE, "MLP-candidate", {}, "a file")
    assert choose_policy(store, MINE, "MLP").slowdown == 20.0


def test_a_stored_policy_that_this_release_does_not_know_is_refused_and_what_to_do_is_said(store: Store) -> None:
    store.put(keys.policy_key("MLP"), ModelPolicy("MLP", {"phase_of_the_moon": "full"}).to_json())
    with pytest.raises(Corrupt, match=r"policy\.json: a policy has no value phase_of_.* `slipway policy MLP set FILE`"):
        choose_policy(store, MINE, "MLP")


def test_a_run_that_names_no_model_is_left_to_whoever_says_what_its_parameters_must_be(store: Store) -> None:
    assert choose_policy(store, MINE, "") == Policy.of(MINE)


def test_what_is_given_with_a_run_and_cannot_be_is_refused(store: Store) -> None:
    with pytest.raises(InvalidInput, match="The policy given with this run: soak = -1 cannot be"):
        choose_policy(store, MINE, "MLP", {"soak": -1})

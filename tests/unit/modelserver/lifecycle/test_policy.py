import pytest

from infra.modelserver.lifecycle.policy import (
    Action,
    Managed,
    Phase,
    may_apply,
    next_action,
    parse_version,
    wanted_versions,
)
from tasks.wire.protos import ModelConfig


def policy(text: str = "") -> object:
    from google.protobuf import text_format

    config = ModelConfig()
    text_format.Parse(f"model_version_policy {{ {text} }}", config)
    return config.model_version_policy


@pytest.mark.parametrize(
    ("name", "version"),
    [("7", 7), ("007", 7), ("0", 0), ("-3", -3), ("+7", 7), (" 5 ", 5), ("9223372036854775807", 2**63 - 1)],
)
def test_a_version_is_any_name_that_is_an_int64(name: str, version: int) -> None:
    assert parse_version(name) == version


@pytest.mark.parametrize("name", ["", "v1", "1.0", ".tmp-7", "7a", "+-7", "1e3", "٣", "9223372036854775808", "1_000"])
def test_any_other_name_is_ignored(name: str) -> None:
    assert parse_version(name) is None


def test_without_a_policy_the_latest_version_is_wanted() -> None:
    assert wanted_versions(["1", "3", "10", "notes"], policy()) == {10: "10"}


def test_latest_wants_as_many_of_the_highest_as_it_says_and_at_least_one() -> None:
    assert list(wanted_versions(["1", "3", "10"], policy("latest { num_versions: 2 }"))) == [10, 3]
    assert list(wanted_versions(["1", "3", "10"], policy("latest { num_versions: 0 }"))) == [10]


def test_all_wants_every_version() -> None:
    assert set(wanted_versions(["1", "2", "x"], policy("all { }"))) == {1, 2}


def test_specific_wants_those_of_its_versions_that_exist() -> None:
    assert set(wanted_versions(["1", "2"], policy("specific { versions: 2 versions: 9 }"))) == {2}
    assert wanted_versions(["1", "2"], policy("specific { versions: 9 }")) == {}


def test_of_two_names_for_one_version_the_plain_one_is_taken() -> None:
    assert wanted_versions(["7", "007"], policy()) == {7: "7"}


def test_the_highest_new_version_is_loaded_first() -> None:
    new = [Managed(v, Phase.NEW, wanted=True) for v in (1, 3, 2)]
    assert next_action(new) == Action(load=True, version=3)


def test_the_old_version_stays_until_the_new_one_is_ready() -> None:
    old = Managed(1, Phase.READY, wanted=False)
    assert next_action([old, Managed(2, Phase.LOADING, wanted=True)]) is None
    assert next_action([old, Managed(2, Phase.READY, wanted=True)]) == Action(load=False, version=1)


def test_the_old_version_stays_when_the_new_one_failed() -> None:
    assert next_action([Managed(1, Phase.READY, wanted=False), Managed(2, Phase.FAILED, wanted=True)]) is None


def test_all_unwanted_versions_but_the_highest_go_before_the_new_one_is_ready() -> None:
    versions = [Managed(v, Phase.READY, wanted=False) for v in (1, 2)] + [Managed(3, Phase.LOADING, wanted=True)]
    assert next_action(versions) == Action(load=False, version=1)
    assert next_action(versions[1:]) is None


def test_when_nothing_is_wanted_everything_goes() -> None:
    assert next_action([Managed(5, Phase.READY, wanted=False)]) == Action(load=False, version=5)


def test_nothing_is_left_to_do_when_what_is_wanted_is_ready() -> None:
    assert next_action([Managed(5, Phase.READY, wanted=True)]) is None
    assert next_action([]) is None


def test_a_wish_for_a_version_that_is_being_unloaded_waits_for_its_end() -> None:
    assert not may_apply({1: Managed(1, Phase.UNLOADING, wanted=False)}, [1, 2])
    assert may_apply({1: Managed(1, Phase.UNLOADING, wanted=False)}, [2])
    assert may_apply({1: Managed(1, Phase.READY, wanted=False)}, [1])

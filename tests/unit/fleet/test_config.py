"""A fleet's config is merged, never replaced."""

import pytest
from google.protobuf import text_format

from tasks.errors import Corrupt
from tasks.fleet import config
from tasks.store.base import Store
from tasks.store.keys import config_key
from tasks.wire.protos import ModelConfig, ModelServerConfig
from tests.helpers.versions import UNSIGNED

OTHERS = """
model_config_list {
  config {
    name: "theirs" base_path: "/srv/theirs" model_platform: "tensorflow"
    model_version_policy { latest { num_versions: 2 } }
    version_labels { key: "gold" value: 3 }
    logging_config { sampling_config { sampling_rate: 0.25 } }
  }
  config {
    name: "MLP" base_path: "s3://b/models/MLP" model_platform: "tensorflow"
    model_version_policy { specific { versions: 6 } }
  }
}
"""


def parsed(text: str) -> ModelServerConfig:
    return text_format.Parse(text, ModelServerConfig())


def entry(name: str, version: int) -> ModelConfig:
    found = ModelConfig(name=name, base_path=f"s3://b/models/{name}", model_platform="tensorflow")
    found.model_version_policy.specific.versions.append(version)
    return found


def test_an_entry_of_another_team_is_left_field_for_field() -> None:
    merged = config.with_entries(parsed(OTHERS), {"MLP": entry("MLP", 7)})
    assert merged.model_config_list.config[0] == parsed(OTHERS).model_config_list.config[0]
    assert config.FleetConfig(1, merged).versions("MLP") == [7]


def test_a_new_model_is_added_behind_the_others_and_one_that_leaves_is_left_out() -> None:
    merged = config.with_entries(parsed(OTHERS), {"MLP": None, "New": entry("New", 1)})
    assert [c.name for c in merged.model_config_list.config] == ["theirs", "New"]


def test_merging_does_not_change_what_was_merged_into() -> None:
    before = parsed(OTHERS)
    config.with_entries(before, {"MLP": None})
    assert before == parsed(OTHERS)


def test_a_fleet_without_models_is_still_a_list_that_a_model_server_takes() -> None:
    merged = config.with_entries(ModelServerConfig(), {})
    assert merged.WhichOneof("config") == "model_config_list"


def test_a_config_reads_back_as_it_was_written_under_its_note() -> None:
    data = config.render(parsed(OTHERS), "run 5\nMLP: serve 6").decode()
    assert data.startswith("# run 5 MLP: serve 6\n")
    assert config.parse(data, "here") == parsed(OTHERS)


def change(fleet: config.Fleet, version: int, *, only: tuple[str, ...] = ()) -> config.FleetConfig:
    candidate = {"MLP-candidate": None} if version == 7 else {"MLP-candidate": entry("MLP-candidate", 7)}
    return fleet.change({"MLP": entry("MLP", version), **candidate}, "test", only=only)


@pytest.fixture
def fleet(store: Store) -> config.Fleet:
    return config.Fleet(store, UNSIGNED, "test", 1.0)


def served(fleet: config.Fleet, replica: str) -> dict[str, list[int]]:
    """What one replica has to serve by the fleet's newest config."""
    mine = fleet.seen_by(replica, fleet.newest())
    return {c.name: mine.versions(c.name) for c in mine.models.model_config_list.config}


def test_a_replica_that_a_change_is_not_for_serves_as_before_until_it_has_its_turn(fleet: config.Fleet) -> None:
    before = change(fleet, 6)
    one, both = change(fleet, 7, only=("r1",)), change(fleet, 7, only=("r1", "r2"))
    assert [(held.name, held.only, held.before) for held in one.held] == [
        ("MLP", ("r1",), before.number),
        ("MLP-candidate", ("r1",), before.number),
    ]
    assert fleet.newest() == both
    assert served(fleet, "r1") == served(fleet, "r2") == {"MLP": [7]}
    assert served(fleet, "r3") == {"MLP": [6], "MLP-candidate": [7]}
    assert change(fleet, 7, only=("r1", "r2")) == both, "nothing is written twice"
    assert change(fleet, 7).held == ()
    assert served(fleet, "r3") == {"MLP": [7]}


def test_what_another_writer_changes_leaves_replicas_held_back(fleet: config.Fleet) -> None:
    change(fleet, 6)
    change(fleet, 7, only=("r1",))
    fleet.change({"theirs": entry("theirs", 1)}, "another team")
    assert served(fleet, "r1") == {"MLP": [7], "theirs": [1]}
    assert served(fleet, "r2") == {"MLP": [6], "MLP-candidate": [7], "theirs": [1]}


def test_model_servers_and_older_agents_read_a_config_that_holds_replicas_back(fleet: config.Fleet) -> None:
    change(fleet, 6)
    held = change(fleet, 7, only=("r1", "a, b"))
    assert fleet.seen_by("a, b", held).versions("MLP") == [7]
    text = fleet.store.get(config_key("test", held.number)).decode()
    assert parsed(text) == held.models


def test_a_config_that_does_not_say_whom_it_holds_back_is_corrupt() -> None:
    with pytest.raises(Corrupt, match=r"^here is not a held"):
        config.held_in("# held back: r2", "here")


@pytest.mark.parametrize("text", ["model_config_list { broken", "custom_model_config { }"])
def test_a_config_that_cannot_be_merged_into_is_corrupt_and_named(text: str) -> None:
    with pytest.raises(Corrupt, match=r"^s3://b/x.config"):
        config.parse(text, "s3://b/x.config")


def numbered(store: Store, *names: str) -> config.Fleet:
    """A fleet of whose configs these exist."""
    fleet = config.Fleet(store, UNSIGNED, "test", 1.0)
    for name in names:
        fleet.store.put(f"fleets/test/configs/{name}", config.render(parsed(OTHERS), name))
    return fleet


def test_a_config_behind_a_gap_or_in_another_place_is_passed_over(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    stray = ("999999.config", "notes/000009.config", "3.config", "x.config", "000000.config", "٣.config")
    fleet = numbered(store, "000001.config", "000002.config", *stray)
    assert (fleet.numbers(), fleet.newest().number) == ([1, 2], 2)
    assert "999999.config follows on no config of fleet test" in caplog.text
    assert fleet.change({"MLP": None}, "test").number == 3
    assert [known.number for known in (fleet.newer(fleet.read(1)), fleet.newer(fleet.read(2))) if known] == [3, 3]
    assert fleet.newer(fleet.read(3)) is None


def test_numbers_go_on_beyond_six_digits(store: Store) -> None:
    fleet = numbered(store, "999998.config", "999999.config", "1000000.config")
    assert fleet.newest().number == 1_000_000
    assert fleet.change({"MLP": None}, "test").number == 1_000_001
    newer = fleet.newer(fleet.read(999_998))
    assert newer is not None
    assert newer.number == 1_000_001


def test_a_look_that_finds_nothing_new_asks_for_one_object(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = numbered(store, "000001.config")
    asked, known = list[str](), fleet.read(1)
    monkeypatch.setattr(store, "find", lambda key: asked.append(key))
    monkeypatch.setattr(store, "objects", None)
    assert fleet.newer(known) is None
    assert asked == [config_key("test", 2)]

"""A fleet's configs, told in words."""

from datetime import UTC, datetime

from google.protobuf import text_format

from tasks.fleet.config import Fleet, render, serving_entry, with_entries
from tasks.fleet.history import differences, fleet_history, read_note
from tasks.store.base import Store
from tasks.wire.protos import ModelConfig, ModelServerConfig
from tests.helpers.versions import UNSIGNED


def config(*entries: ModelConfig) -> ModelServerConfig:
    return with_entries(ModelServerConfig(), {entry.name: entry for entry in entries})


def entry(name: str, *versions: int, **labels: int) -> ModelConfig:
    return serving_entry(name, f"s3://b/models/{name}", versions, labels)


THEIRS = text_format.Parse(
    'name: "theirs" base_path: "/srv" model_version_policy { latest { num_versions: 2 } }', ModelConfig()
)


def test_names_that_come_go_and_change_are_told() -> None:
    before = config(entry("MLP", 6), entry("MLP-candidate", 7), THEIRS)
    assert differences(before, config(entry("MLP", 7), THEIRS)) == [
        "MLP-candidate is no longer served",
        "MLP serves 7, before: 6",
    ]
    assert differences(config(), config(entry("MLP", 1, 2, stable=1, canary=2), THEIRS)) == [
        "MLP serves 1, 2 (canary 2, stable 1)",
        "theirs serves its latest 2",
    ]


def test_labels_that_move_are_told() -> None:
    before, after = config(entry("MLP", 6, 7, stable=6, canary=7)), config(entry("MLP", 6, 7, stable=7))
    assert differences(before, after) == ["MLP label canary: 7 → none", "MLP label stable: 6 → 7"]


def test_another_teams_change_that_has_no_words_here_is_told_all_the_same() -> None:
    changed = ModelConfig()
    changed.CopyFrom(THEIRS)
    changed.logging_config.sampling_config.sampling_rate = 0.5
    assert differences(config(THEIRS), config(changed)) == ["theirs: other settings changed"]
    assert differences(config(THEIRS), config(THEIRS)) == []


def test_replicas_that_are_held_back_are_told(store: Store) -> None:
    fleet = Fleet(store, UNSIGNED, "test", 1.0)
    for version, only in ((6, ()), (7, ("r1", "r2"))):
        fleet.change({"MLP": entry("MLP", version)}, "test", only=only)
    newest, _ = fleet_history(fleet)
    assert newest.changes == ("MLP serves 7, before: 6", "MLP so on r1, r2 alone, elsewhere as in config 1")


def test_the_note_says_when_and_which_run_and_why() -> None:
    text = render(config(), "2026-03-01T10:00:00+00:00 run 4711: final MLP 7").decode()
    assert read_note(text) == (datetime(2026, 3, 1, 10, tzinfo=UTC), "4711", "final MLP 7")


def test_a_config_that_was_written_by_hand_has_the_note_that_it_has() -> None:
    assert read_note("# moved by Ada\nmodel_config_list {}") == (None, None, "moved by Ada")
    assert read_note("model_config_list {}") == (None, None, "")
    assert read_note("#") == (None, None, "")

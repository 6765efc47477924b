"""What a replica is asked for on its way from one config to the next."""

from pathlib import Path

import psutil
import pytest
from google.protobuf import text_format

from tasks.errors import LoadFailed, NotFound
from tasks.fleet import converge
from tasks.fleet.config import FleetConfig, serving_entry, with_entries
from tasks.records import VersionState
from tasks.serving.client import ServingClient
from tasks.store.base import Store
from tasks.wire.protos import ModelServerConfig
from tests.helpers.versions import UNSIGNED


def config(**models: str) -> ModelServerConfig:
    """`MLP="1 2 stable=1"` serves versions 1 and 2 and labels 1 stable."""
    made = ModelServerConfig()
    for name, words in models.items():
        found = made.model_config_list.config.add(name=name, base_path=f"/models/{name}", model_platform="tensorflow")
        for word in words.split():
            label, _, version = word.rpartition("=")
            if label:
                found.version_labels[label] = int(version)
            else:
                found.model_version_policy.specific.versions.append(int(version))
    return made


def states(**models: dict[int, str]) -> converge.States:
    return {
        name: tuple(VersionState(v, *state.split(":")) for v, state in versions.items())
        for name, versions in models.items()
    }


def test_without_labels_the_wanted_config_is_asked_for_at_once() -> None:
    wanted = config(MLP="7")
    assert converge.transition(config(MLP="6"), wanted, states(MLP={6: "AVAILABLE"})) == wanted


def test_a_new_label_waits_until_its_version_is_available() -> None:
    running, wanted = config(MLP="6 stable=6"), config(MLP="6 7 stable=6 canary=7")
    first = converge.transition(running, wanted, states(MLP={6: "AVAILABLE"}))
    assert first == config(MLP="6 7 stable=6")
    later = converge.transition(first, wanted, states(MLP={7: "AVAILABLE", 6: "AVAILABLE"}))
    assert later == wanted


def test_a_label_that_moves_to_a_version_still_loading_stays_with_the_old_one() -> None:
    first = converge.transition(config(MLP="6 stable=6"), config(MLP="7 stable=7"), states(MLP={6: "AVAILABLE"}))
    assert first == config(MLP="7 6 stable=6")


def test_a_label_whose_old_version_is_gone_too_is_left_out_for_now() -> None:
    first = converge.transition(config(MLP="6 stable=6"), config(MLP="7 stable=7"), states(MLP={6: "END"}))
    assert first == config(MLP="7")


@pytest.mark.parametrize(
    ("running", "wanted", "without"),
    [
        ("6 stable=6", "7 6 stable=6 canary=7", "6 stable=6"),
        ("6 stable=6", "7 stable=7", "6 stable=6"),
        ("", "7 stable=7", None),
        ("7 stable=7", "7 stable=7", None),
        ("6 7 stable=7", "7 8 stable=8", "8 stable=8"),
        ("6", "", ""),  # by a policy that names no number
    ],
)
def test_without_a_version_that_failed_the_others_are_served_as_they_are_wanted_or_else_as_before(
    running: str, wanted: str, without: str | None
) -> None:
    failed = states(MLP={7: "END:INTERNAL:cut off", 6: "AVAILABLE"})
    found = converge.without_failed(config(MLP=running), config(MLP=wanted), failed)
    assert found == (config(MLP=without) if without is not None else with_entries(ModelServerConfig(), {}))


def test_missing_names_each_version_that_is_not_available() -> None:
    wanted = config(MLP="6 7", Other="1")
    told = converge.missing(wanted, states(MLP={6: "AVAILABLE", 7: "LOADING"}))
    assert told == ["MLP version 7 being AVAILABLE", "Other version 1 being AVAILABLE"]


def test_a_policy_without_numbers_wants_any_version() -> None:
    wanted = config(Theirs="")
    assert converge.missing(wanted, states(Theirs={3: "END"})) == ["Theirs having a version AVAILABLE"]
    assert converge.missing(wanted, states(Theirs={3: "AVAILABLE"})) == []


def test_surplus_names_what_is_still_loaded_and_not_wanted() -> None:
    told = converge.surplus(
        config(MLP="7", Theirs=""),
        states(MLP={7: "AVAILABLE", 6: "UNLOADING"}, Theirs={1: "AVAILABLE"}, Gone={2: "AVAILABLE"}),
    )
    assert told == ["MLP version 6 being unloaded", "Gone version 2 being unloaded"]


def test_what_is_to_be_loaded_is_what_the_server_holds_nothing_of_once_for_each_name() -> None:
    wanted = config(MLP="6 7", Other="1", Theirs="3")
    mine, _, theirs = wanted.model_config_list.config
    theirs.base_path = "/elsewhere/Theirs"
    candidate = wanted.model_config_list.config.add()
    candidate.CopyFrom(mine)
    candidate.name = "MLP-candidate"
    held = states(MLP={6: "AVAILABLE", 7: "END"}, Other={1: "LOADING"})
    found = converge.unloaded(wanted, held, Path("/models"))
    assert [str(p) for p in found] == ["/models/MLP/7", "/models/MLP/6", "/models/MLP/7"]


class FakeServer(ServingClient):
    """Holds nothing, and notes what it is asked to load."""

    def __init__(self) -> None:
        super().__init__("127.0.0.1:1", "http://127.0.0.1:1")
        self.asked: list[ModelServerConfig] = []

    def statuses(self, model: str) -> tuple[VersionState, ...]:
        return ()

    def reload(self, config: ModelServerConfig, deadline: float) -> None:
        self.asked.append(config)


def test_a_version_that_is_larger_than_the_free_memory_never_gets_to_the_server(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.versions.kept.require_unaltered", lambda *_: None)
    models = tmp_path / "models"
    (models / "MLP" / "7").mkdir(parents=True)
    with (models / "MLP" / "7" / "weights").open("wb") as file:
        file.truncate(psutil.virtual_memory().total)  # takes no room on the disk
    entry = serving_entry("MLP", store.uri("models/MLP"), [7], {})
    wanted = FleetConfig(1, with_entries(ModelServerConfig(), {"MLP": entry}))
    server = FakeServer()
    with server:
        replica = converge.Replica(store, UNSIGNED, "r1", server, models, tmp_path / "models.config")
        with pytest.raises(LoadFailed, match="MLP version 7 cannot be loaded: the files take"):
            replica.converge(wanted, 1.0)
        assert server.asked == []


def test_a_version_that_cannot_be_fetched_is_the_fault_of_its_model(store: Store, tmp_path: Path) -> None:
    entry = serving_entry("MLP", store.uri("models/MLP"), [7], {})
    wanted = FleetConfig(1, with_entries(ModelServerConfig(), {"MLP": entry}))
    server = FakeServer()
    with server:
        replica = converge.Replica(store, UNSIGNED, "r1", server, tmp_path / "models", tmp_path / "models.config")
        with pytest.raises(LoadFailed, match="Version 7 of model 'MLP' does not exist") as caught:
            replica.converge(wanted, 1.0)
    assert caught.value.model == "MLP"
    assert isinstance(caught.value.__cause__, NotFound)
    assert server.asked == []


def test_a_version_that_ended_with_an_error_fails_with_the_servers_own_words() -> None:
    told = states(MLP={7: "END:NOT_FOUND:no variables", 6: "AVAILABLE"})
    with pytest.raises(
        LoadFailed, match=r"MLP version 7 did not load \(state END: NOT_FOUND: no variables\)"
    ) as caught:
        converge.raise_failed(config(MLP="7"), told, {})
    assert caught.value.model == "MLP"


@pytest.mark.parametrize(
    ("asked", "stale"),
    [
        ("6", False),  # nobody asks for 7
        ("7", True),  # the error stood there before the reload
    ],
)
def test_an_error_that_is_not_news_or_not_wanted_is_passed_over(asked: str, stale: bool) -> None:
    told = states(MLP={7: "END:NOT_FOUND:no variables"})
    converge.raise_failed(config(MLP=asked), told, told if stale else {})


def test_a_version_that_was_unloaded_is_no_failure() -> None:
    converge.raise_failed(config(MLP="7"), states(MLP={7: "END:OK"}), {})


def test_the_config_file_is_replaced_whole(tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "replica" / "models.config"
    for wanted in (config(MLP="6 stable=6"), config(MLP="7"), ModelServerConfig()):
        converge.write_config(path, wanted)
        assert text_format.Parse(path.read_text(), ModelServerConfig()).model_config_list == wanted.model_config_list
        assert [p.name for p in path.parent.iterdir()] == ["models.config"]


@pytest.mark.parametrize(
    ("base_path", "believed"),
    [
        ("memory://test/models/MLP", True),
        ("/srv/theirs/MLP", True),
        ("memory://test/models/Other", False),
        ("memory://test/models/../evil", False),
        ("memory://test/models/MLP/../../evil", False),
        ("memory://elsewhere/models/MLP", False),
        ("/tmp/evil", False),
        ("/srv/theirs/../evil", False),
        ("/srv/theirs-too", False),
        ("", False),
    ],
)
@pytest.mark.parametrize("name", ["MLP", "MLP-candidate"])
def test_what_may_not_be_served_leaves_what_serves_under_its_name(
    store: Store, tmp_path: Path, base_path: str, believed: bool, name: str
) -> None:
    file = tmp_path / "models.config"
    replica = converge.Replica(
        store, UNSIGNED, "r1", FakeServer(), tmp_path / "models", file, other_folders=[Path("/srv/theirs")]
    )
    entry = serving_entry(name, base_path, [9], {})
    other = serving_entry("Fine", "memory://test/models/Fine", [1], {})
    asked = FleetConfig(4, with_entries(ModelServerConfig(), {name: entry, "Fine": other}))
    found, doubts = replica.believed(asked)
    if believed:
        assert (found, doubts) == (asked, [])
        return
    assert [c.name for c in found.models.model_config_list.config] == ["Fine"], "nothing is served under that name"
    assert base_path in doubts[0]
    served = serving_entry(name, str(tmp_path / "models/MLP"), [3], {"stable": 3})
    converge.write_config(file, with_entries(ModelServerConfig(), {name: served}))
    found, _ = replica.believed(asked)
    assert found.entry(name) == served
    assert found.entry("Fine") == other


def test_where_no_folders_are_named_a_model_may_lie_anywhere(store: Store, tmp_path: Path) -> None:
    replica = converge.Replica(store, UNSIGNED, "r1", FakeServer(), tmp_path / "models", tmp_path / "models.config")
    asked = FleetConfig(4, with_entries(ModelServerConfig(), {"theirs": serving_entry("theirs", "/srv/x", [9], {})}))
    assert replica.believed(asked) == (asked, [])

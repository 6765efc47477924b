"""Taking configs, with a manager whose loads succeed at once and a file system that is asked by hand."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format

from infra.modelserver.errors import Code, StatusError
from infra.modelserver.lifecycle.manager import Manager, ManagerOptions
from infra.modelserver.lifecycle.reload import Reloader, is_relative
from infra.modelserver.lifecycle.source import FileSystemSource
from infra.modelserver.lifecycle.states import StateMonitor
from tasks.wire.protos import ModelServerConfig
from tests.unit.modelserver.lifecycle.test_manager import Loads, until


class Server:
    def __init__(self, root: Path, *, allow: bool = False, interval: float = 0.02) -> None:
        self.root, self.loads, self.monitor = root, Loads(), StateMonitor()
        self.manager = Manager(self.loads, self.monitor, ManagerOptions(max_load_retries=0))
        self.source = FileSystemSource(self.manager.set_wanted, interval=interval)
        self.reloader = Reloader(self.manager, self.source, self.monitor, allow_labels_for_unavailable=allow)
        for version in ("1", "2"):
            (root / "m" / version).mkdir(parents=True)

    def reload(self, *models: str) -> None:
        self.reloader.apply(self.config(*models))

    def config(self, *models: str) -> Any:
        entries = " ".join(f"config {{ {model} }}" for model in models)
        return text_format.Parse(f"model_config_list {{ {entries} }}", ModelServerConfig())

    def model(self, more: str = "", *, name: str = "m", platform: str = "model_platform: 'tensorflow'") -> str:
        return f"name: '{name}' base_path: '{self.root}/m' {platform} {more}"

    def available(self) -> set[int]:
        return self.monitor.available("m")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path)
    yield made
    made.source.stop()


@pytest.fixture
def lenient(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path, allow=True)
    yield made
    made.source.stop()


def refused(server: Server, *models: str) -> tuple[Code, str]:
    with pytest.raises(StatusError) as problem:
        server.reload(*models)
    return problem.value.code, problem.value.message


def test_a_reload_waits_for_models_whose_name_is_new(server: Server) -> None:
    server.reload(server.model())
    assert server.available() == {2}


def test_a_reload_returns_before_a_known_model_has_its_new_version(tmp_path: Path) -> None:
    server = Server(tmp_path, interval=60)
    server.reload(server.model("model_version_policy { specific { versions: 1 } }"))
    server.reload(server.model("model_version_policy { specific { versions: 2 } }"))
    assert server.available() == {1}
    server.source.poll_once()
    until(lambda: server.available() == {2})
    server.source.stop()


def test_a_model_that_the_new_config_does_not_name_is_unloaded(server: Server) -> None:
    server.reload(server.model())
    server.reload()
    until(lambda: server.available() == set())


def test_a_new_model_that_does_not_load_fails_the_reload_with_its_reason(server: Server) -> None:
    server.loads.failing[2] = StatusError(Code.OUT_OF_RANGE, "Read less bytes than requested")
    assert refused(server, server.model()) == (
        Code.UNKNOWN,
        "1 model(s) did not become available: {{{name: m version: 2} due to error: "
        "OUT_OF_RANGE: Read less bytes than requested}, }",
    )


def test_one_missing_base_path_leaves_every_model_as_it_is(server: Server) -> None:
    server.reload(server.model())
    absent = f"name: 'absent' base_path: '{server.root}/absent' model_platform: 'tensorflow'"
    waited = iter([False, False, True])
    with pytest.raises(StatusError, match="cancelled"):
        server.reloader.apply(
            server.config(server.model("model_version_policy { specific { versions: 1 } }"), absent),
            cancelled=lambda: next(waited),
        )
    server.source.poll_once()
    assert server.available() == {2}


def test_an_empty_config_changes_nothing(server: Server) -> None:
    server.reloader.apply(ModelServerConfig())
    server.reload(server.model())
    code, message = Code.OK, ""
    try:
        server.reloader.apply(ModelServerConfig())
    except StatusError as error:
        code, message = error.code, error.message
    assert code == Code.FAILED_PRECONDITION
    assert message.startswith("Cannot transition to requested config.")
    assert server.available() == {2}


def test_refusals_are_tensorflow_servings(server: Server) -> None:
    server.reload(server.model())
    other = server.model(platform="model_platform: 'other'")
    assert refused(server, server.model(), server.model()) == (
        Code.INVALID_ARGUMENT, "Illegal to list model m multiple times in config list")  # fmt: skip
    assert refused(server, "name: 'm' base_path: 'a/b' model_platform: 'tensorflow'") == (
        Code.INVALID_ARGUMENT, "Expected model m to have an absolute path or URI; got base_path()=a/b")  # fmt: skip
    assert refused(server, other) == (
        Code.INVALID_ARGUMENT,
        "Illegal to change a model's platform. For model m platform was tensorflow and new platform requested is other",
    )
    assert refused(server, server.model(platform="")) == (
        Code.INVALID_ARGUMENT,
        "Illegal setting neither ModelServerConfig::model_type (deprecated) nor ModelServerConfig::model_platform, "
        "model name is m",
    )
    assert server.available() == {2}


def test_a_platform_that_is_not_served_is_refused(server: Server) -> None:
    assert refused(server, server.model(platform="model_platform: 'caffe'")) == (
        Code.INVALID_ARGUMENT, "Model m requests unsupported platform caffe")  # fmt: skip


def test_the_deprecated_model_type_stands_for_the_platform(server: Server) -> None:
    server.reload(server.model(platform="model_type: TENSORFLOW"))
    assert server.available() == {2}
    assert refused(server, server.model(platform="model_type: TENSORFLOW model_platform: 'tensorflow'"))[1].startswith(
        "Illegal setting both"
    )


def test_a_label_may_point_only_at_a_version_available_when_the_reload_arrives(server: Server) -> None:
    server.reload(server.model("model_version_policy { specific { versions: 1 } }"))
    both = "model_version_policy { specific { versions: 1 versions: 2 } }"
    assert refused(server, server.model(f"{both} version_labels {{ key: 'canary' value: 2 }}")) == (
        Code.FAILED_PRECONDITION,
        "Request to assign label to version 2 of model m, which is not currently available for inference",
    )
    server.source.poll_once()
    assert server.available() == {1}  # the sources stayed as they were
    server.reload(server.model(both))
    until(lambda: server.available() == {1, 2})
    server.reload(server.model(f"{both} version_labels {{ key: 'canary' value: 2 }}"))
    assert server.manager.labelled("m", "canary") == 2


def test_labels_are_replaced_as_a_whole(server: Server) -> None:
    server.reload(server.model())
    server.reload(server.model("version_labels { key: 'a' value: 2 } version_labels { key: 'b' value: 2 }"))
    server.reload(server.model("version_labels { key: 'b' value: 2 }"))
    assert (server.manager.labelled("m", "a"), server.manager.labelled("m", "b")) == (None, 2)


def test_allowed_labels_may_come_before_their_version_but_never_move_to_one(lenient: Server) -> None:
    lenient.reload(lenient.model("version_labels { key: 'next' value: 7 } version_labels { key: 'stable' value: 2 }"))
    assert lenient.manager.labelled("m", "next") == 7
    assert refused(lenient, lenient.model("version_labels { key: 'stable' value: 7 }"))[0] == Code.FAILED_PRECONDITION
    assert lenient.manager.labelled("m", "stable") == 2


@pytest.mark.parametrize(("path", "relative"), [("/a", False), ("a/b", True), ("", True), ("gs://b/m", False)])
def test_base_paths_are_absolute_or_addresses(path: str, relative: bool) -> None:
    assert is_relative(path) is relative

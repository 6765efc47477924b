"""Versions coming and going on a real server."""

import shutil
import threading
from functools import partial
from pathlib import Path

import grpc
import requests

from tests.helpers.local import until
from tests.integration.modelserver.process import ModelServerProcess, entry, refusal, specific, tensor


def copy(small_models: Path, tmp_path: Path, model: str = "affine") -> Path:
    shutil.copytree(small_models / model, tmp_path / model)
    return tmp_path / model


def test_no_request_fails_while_versions_are_swapped_under_load(small_models: Path, tmp_path: Path) -> None:
    model = small_models / "affine"
    with ModelServerProcess(tmp_path, [entry(model, specific(1))], "--max_num_load_retries=0") as server:
        failures: list[str] = []
        answers: set[float] = set()
        done = threading.Event()

        def ask(rest: bool) -> None:
            session = requests.Session()
            url = f"http://127.0.0.1:{server.rest_port}/v1/models/affine:predict"
            while not done.is_set():
                try:
                    if rest:
                        reply = session.post(url, json={"instances": [0.0]}, timeout=30)
                        answers.add(reply.json()["predictions"][0])
                    else:
                        answers.add(float(server.predict("affine", [0.0])[0]))
                except (grpc.RpcError, requests.RequestException, KeyError) as error:
                    failures.append(repr(error))

        clients = [threading.Thread(target=ask, args=(rest,)) for rest in (False, False, True, True)]
        for client in clients:
            client.start()

        def serves_alone(new: int, old: int) -> bool:
            states = server.states("affine")
            return (states.get(new), states.get(old)) == ("AVAILABLE", "END")

        for number in range(10):
            old, new = number % 3 + 1, (number + 1) % 3 + 1
            server.reload(entry(model, specific(new)))
            until(partial(serves_alone, new, old), f"version {new} is served alone")
        done.set()
        for client in clients:
            client.join()
    assert failures == []
    assert answers == {1.0, 2.0, 3.0}


def test_a_version_that_appears_is_loaded_and_one_that_leaves_is_unloaded(small_models: Path, tmp_path: Path) -> None:
    model = copy(small_models, tmp_path)
    (model / "3").rename(tmp_path / ".tmp-3")
    with ModelServerProcess(tmp_path / "home", [entry(model)]) as server:
        assert server.states("affine") == {2: "AVAILABLE"}
        (tmp_path / ".tmp-3").rename(model / "3")
        server.reaches("affine", {2: "END", 3: "AVAILABLE"})
        shutil.rmtree(model / "3")
        server.reaches("affine", {2: "AVAILABLE", 3: "END"})


def test_a_missing_base_path_unloads_nothing_of_any_model(small_models: Path, tmp_path: Path) -> None:
    model, other = copy(small_models, tmp_path), copy(small_models, tmp_path, "mlp")
    with ModelServerProcess(tmp_path / "home", [entry(model), entry(other)]) as server:
        other.rename(tmp_path / "elsewhere")
        shutil.rmtree(model / "3")
        until(lambda: server.lines("Could not find base path"), "the missing base path is reported")
        assert server.states("affine") == {3: "AVAILABLE"}
        assert server.states("mlp") == {1: "AVAILABLE"}
        (tmp_path / "elsewhere").rename(other)
        server.reaches("affine", {2: "AVAILABLE", 3: "END"})


def test_an_empty_base_path_unloads_the_model(small_models: Path, tmp_path: Path) -> None:
    model = copy(small_models, tmp_path)
    with ModelServerProcess(tmp_path / "home", [entry(model)]) as server:
        for version in model.iterdir():
            shutil.rmtree(version)
        server.reaches("affine", {3: "END"})
        assert refusal(lambda: server.predict("affine", [1.0])) == (
            "NOT_FOUND", "Servable not found for request: Latest(affine)")  # fmt: skip


def test_a_failed_load_is_retried_and_a_mended_version_comes_up(small_models: Path, tmp_path: Path) -> None:
    model = copy(small_models, tmp_path, "cut")
    flags = ("--max_num_load_retries=1000", "--load_retry_interval_micros=100000")
    with ModelServerProcess(tmp_path / "home", [entry(model, specific(1))], *flags) as server:
        server.reload(entry(model, specific(2)))
        until(lambda: len(server.lines("could not load cut version 2")) >= 3, "version 2 is tried again and again")
        assert server.states("cut") == {1: "AVAILABLE", 2: "LOADING"}
        shutil.copyfile(model / "1" / "saved_model.pb", model / "2" / "saved_model.pb")
        server.reaches("cut", {1: "END", 2: "AVAILABLE"})


def test_a_failed_version_is_tried_again_only_after_it_left_the_config(small_models: Path, tmp_path: Path) -> None:
    model = copy(small_models, tmp_path, "cut")
    with ModelServerProcess(tmp_path / "home", [entry(model, specific(1))], "--max_num_load_retries=0") as server:
        server.reload(entry(model, specific(2)))
        server.reaches("cut", {1: "AVAILABLE", 2: "END"})
        shutil.copyfile(model / "1" / "saved_model.pb", model / "2" / "saved_model.pb")
        server.reload(entry(model, specific(2)))
        server.reload(entry(model, specific(1)), entry(small_models / "mlp"))  # waits for a poll
        assert server.states("cut") == {1: "AVAILABLE", 2: "END"}
        server.reload(entry(model, specific(2)))
        server.reaches("cut", {1: "END", 2: "AVAILABLE"})


def test_a_version_without_variables_loads_and_fails_at_predict(small_models: Path, tmp_path: Path) -> None:
    with ModelServerProcess(tmp_path, [entry(small_models / "novars")]) as server:
        assert server.states("novars") == {2: "AVAILABLE"}
        code, text = refusal(lambda: server.predict("novars", [1.0]))
    assert code in ("NOT_FOUND", "FAILED_PRECONDITION")
    assert "variable" in text.lower()


def test_polling_once_finds_what_is_there_at_the_start_alone(small_models: Path, tmp_path: Path) -> None:
    model = copy(small_models, tmp_path)
    (model / "3").rename(tmp_path / "3")
    with ModelServerProcess(tmp_path / "home", [entry(model)], "--file_system_poll_wait_seconds=0") as server:
        (tmp_path / "3").rename(model / "3")
        assert refusal(
            lambda: server.service().HandleReloadConfigRequest(_reload_of(small_models / "mlp"), timeout=3)
        )[0] == "DEADLINE_EXCEEDED"  # fmt: skip
        assert server.states("affine")[2] in ("AVAILABLE", "UNLOADING", "END")
        assert 3 not in server.states("affine")


def _reload_of(base: Path) -> object:
    from tasks.wire.protos import ReloadConfigRequest
    from tests.integration.modelserver.process import config

    return ReloadConfigRequest(config=config(entry(base)))


def test_requests_with_a_version_reach_it_while_a_newer_one_is_served(small_models: Path, tmp_path: Path) -> None:
    everything = "model_version_policy { all { } }"
    with ModelServerProcess(tmp_path, [entry(small_models / "affine", everything)]) as server:
        server.reaches("affine", {1: "AVAILABLE", 2: "AVAILABLE", 3: "AVAILABLE"})
        reply = server.predict_raw("affine", {"x": tensor([0.0])}, version=1)
        assert reply.model_spec.version.value == 1
        assert [float(server.predict("affine", [0.0], version=v)[0]) for v in (1, 2, 3)] == [1.0, 2.0, 3.0]

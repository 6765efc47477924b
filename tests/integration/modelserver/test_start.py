"""Starting: what keeps the server from it, and that the ports open only when all is loaded."""

import signal
import socket
import time
from pathlib import Path

import psutil
import pytest

from tests.helpers.local import until
from tests.integration.modelserver.process import ModelServerProcess, entry, free_ports, run_to_end, specific


def test_wrong_flags_are_answered_at_once_with_one_line() -> None:
    start = time.monotonic()
    code, output = run_to_end("--nope=1")
    assert code == 1
    assert output.strip() == "slipway-model-server: unknown flag: --nope. --help lists the known ones."
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("which", ["port", "rest_api_port"])
def test_a_taken_port_is_named_with_the_flag_that_moves_it(small_models: Path, which: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        (other,) = free_ports(1)
        ports = {"port": other, "rest_api_port": 0, which: number}
        code, output = run_to_end(
            *[f"--{flag}={port}" for flag, port in ports.items()], f"--model_base_path={small_models / 'affine'}"
        )
    assert code == 1
    assert f"127.0.0.1:{number}" in output
    assert f"--{which}" in output
    assert len(output.splitlines()) == 1


def test_a_config_file_that_does_not_parse_keeps_the_server_from_starting(tmp_path: Path) -> None:
    broken = tmp_path / "models.config"
    broken.write_text("model_config_list { broken")
    code, output = run_to_end(f"--model_config_file={broken}", f"--port={free_ports(1)[0]}")
    assert code == 1
    assert f"--model_config_file={broken}" in output


def test_a_model_that_does_not_load_ends_the_process_with_tensorflows_reason(small_models: Path) -> None:
    code, output = run_to_end(
        f"--port={free_ports(1)[0]}", f"--model_base_path={small_models / 'cut'}", "--model_name=cut",
        "--max_num_load_retries=0",
    )  # fmt: skip
    assert code == 1
    last = output.splitlines()[-1]
    assert "cut version: 2" in last
    assert "OUT_OF_RANGE: Read less bytes than requested" in last


def test_one_model_is_served_by_name_and_base_path(small_models: Path, tmp_path: Path) -> None:
    with ModelServerProcess(tmp_path, [entry(small_models / "affine", name="m")]) as server:
        assert server.predict("m", [1.0]).tolist() == [3.5]
        assert server.rest("/v1/models/m").status_code == 200


def test_the_ports_stay_closed_until_every_model_is_there(small_models: Path, tmp_path: Path) -> None:
    later = tmp_path / "later"
    server = ModelServerProcess(tmp_path, [entry(small_models / "affine"), entry(later)])
    try:
        until(lambda: server.lines("Could not find base path"), "the missing base path is reported")
        for port in (server.grpc_port, server.rest_port):
            with socket.socket() as probe:
                assert probe.connect_ex(("127.0.0.1", port)) != 0
        later.symlink_to(small_models / "mlp")
        with server:
            assert server.states("later") == {1: "AVAILABLE"}
    finally:
        server.kill()


def test_labels_at_the_start_need_their_flag(small_models: Path, tmp_path: Path) -> None:
    labelled = entry(small_models / "affine", "version_labels { key: 'stable' value: 3 }")
    with ModelServerProcess(tmp_path, [labelled], "--allow_version_labels_for_unavailable_models") as server:
        assert server.predict("affine", [2.0], version_label="stable").tolist() == [4.0]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_cleanly(small_models: Path, tmp_path: Path, number: signal.Signals) -> None:
    with ModelServerProcess(tmp_path, [entry(small_models / "affine")]) as server:
        assert server.predict("affine", [2.0]).tolist() == [4.0]
        server.process.send_signal(number)
        assert server.process.wait(20) == 0


def test_a_signal_stops_it_while_it_still_waits_for_models(tmp_path: Path) -> None:
    server = ModelServerProcess(tmp_path, [entry(tmp_path / "absent")])
    try:
        until(lambda: server.lines("Could not find base path"), "the missing base path is reported")
        server.process.terminate()
        assert server.process.wait(20) == 0
    finally:
        server.kill()


def test_without_a_rest_port_there_is_only_grpc(small_models: Path, tmp_path: Path) -> None:
    with ModelServerProcess(tmp_path, [entry(small_models / "affine")], rest=False) as server:
        assert server.predict("affine", [2.0]).tolist() == [4.0]
        assert server.lines("REST") == []


def test_it_listens_on_loopback_alone(small_models: Path, tmp_path: Path) -> None:
    with ModelServerProcess(tmp_path, [entry(small_models / "affine", specific(1))]) as server:
        connections = psutil.Process(server.process.pid).net_connections()
    addresses = {item.laddr.ip.removeprefix("::ffff:") for item in connections if item.status == "LISTEN"}
    assert addresses == {"127.0.0.1"}


def test_it_logs_one_line_for_a_load_and_an_unload_and_none_for_a_request(small_models: Path, tmp_path: Path) -> None:
    with ModelServerProcess(tmp_path, [entry(small_models / "affine", specific(1))]) as server:
        until(lambda: server.lines("REST at"), "the log names the last port")
        before = server.log.read_text()
        assert server.predict("affine", [2.0]).tolist() == [2.0]
        assert server.rest("/v1/models/affine:predict", {"instances": [2.0]}).json() == {"predictions": [2.0]}
        assert server.log.read_text() == before
        assert len(server.lines("loaded affine version 1 from")) == 1
        server.reload()
        until(lambda: server.lines("unloaded affine version 1"), "affine is unloaded")
        assert len(server.lines("took a config of 0 models")) == 1

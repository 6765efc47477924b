"""Dynamic batching: the same answers, in fewer runs."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.wire.protos import PredictRequest
from tests.integration.modelserver.process import ModelServerProcess, array, entry, refusal, tensor

PARAMETERS = """
    max_batch_size { value: 16 } batch_timeout_micros { value: 200000 } num_batch_threads { value: 2 }
    max_enqueued_batches { value: 100 }
"""


def start(small_models: Path, home: Path, parameters: str) -> ModelServerProcess:
    (home / "batching.config").write_text(parameters)
    (home / "monitoring.config").write_text('prometheus_config { enable: true path: "/metrics" }')
    flags = (
        "--enable_batching", f"--batching_parameters_file={home / 'batching.config'}", "--grpc_max_threads=32",
        f"--monitoring_config_file={home / 'monitoring.config'}",
    )  # fmt: skip
    return ModelServerProcess(home, [entry(small_models / name) for name in ("affine", "mlp", "types")], *flags)


@pytest.fixture(scope="module")
def server(small_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServerProcess]:
    with start(small_models, tmp_path_factory.mktemp("batching"), PARAMETERS) as made:
        yield made


def batches(server: ModelServerProcess, model: str) -> tuple[int, int]:
    """How many batches of a model were run, and how many rows they had together."""
    page = server.rest("/metrics").text
    name = ":tensorflow:serving:batching_session:processed_batch_size"
    found = [re.search(rf'^{name}_{what}{{model_name="{model}"}} (\d+)', page, re.M) for what in ("count", "sum")]
    count, total = (int(match[1]) if match else 0 for match in found)
    return count, total


def test_requests_that_arrive_together_are_merged_and_each_gets_its_own_rows(server: ModelServerProcess) -> None:
    def ask(number: int) -> tuple[list[float], list[float]]:
        x = np.arange(number % 4 + 1, dtype=np.float32) + number
        return server.predict("affine", x).tolist(), (x / 2 + 3).tolist()

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, range(48)))
    assert all(got == wanted for got, wanted in answers)
    count, rows = batches(server, "affine")
    assert rows == sum(number % 4 + 1 for number in range(48))
    assert count <= 24


def test_several_inputs_and_outputs_and_strings_are_merged_too(server: ModelServerProcess) -> None:
    def ask(number: int) -> None:
        a, b = np.full([2, 2], number, np.float32), np.full([2], 1, np.float32)
        reply = server.predict_raw("types", {"a": tensor(a), "b": tensor(b)}, "two")
        assert array(reply.outputs["sum"]).tolist() == [2.0 * number + 1] * 2
        assert array(reply.outputs["a2"]).tolist() == (a * 2).tolist()
        text = tensor([b"a%d" % number, b"b" * 40], object)
        shout = array(server.predict_raw("types", {"text": text}, "upper").outputs["shout"]).tolist()
        assert shout == [b"A%d" % number, b"B" * 40]

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(16)))


def test_rest_is_merged_as_well(server: ModelServerProcess) -> None:
    def ask(number: int) -> Any:
        return server.rest("/v1/models/affine:predict", {"instances": [float(number)]}).json()["predictions"]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(16))) == [[number / 2 + 3] for number in range(16)]


def test_inputs_of_other_shapes_do_not_spoil_each_other(server: ModelServerProcess) -> None:
    def ask(width: int) -> list[float]:
        table = np.ones([1, width], np.float32)
        return list(array(server.predict_raw("types", {"x": tensor(table)}, "table", ["rows"]).outputs["rows"]))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(1, 9))) == [[float(width)] for width in range(1, 9)]


def test_an_error_of_the_model_reaches_those_who_were_merged(server: ModelServerProcess) -> None:
    code, text = refusal(lambda: server.predict("types", [-1.0], "guarded"))
    assert code == "INVALID_ARGUMENT"
    assert text.startswith("assertion failed: [x must be positive.")


@pytest.mark.parametrize(
    ("inputs", "signature", "code", "text"),
    [
        ({"x": 1.0}, "scalar", "INVALID_ARGUMENT", "Batching Run() input tensors must have at least one dimension"),
        ({"a": [[1.0, 2.0]], "b": [1.0, 2.0]}, "two", "INVALID_ARGUMENT",
         "Batching Run() input tensors must have equal 0th-dimension size"),
        ({"x": [1.0] * 17}, "oddities", "INVALID_ARGUMENT",
         "Task size 17 is larger than maximum input batch size 16"),
        ({"x": [1.0, 2.0]}, "total", "FAILED_PRECONDITION", "Batched output tensor has 0 dimensions"),
    ],
)  # fmt: skip
def test_what_cannot_be_merged_is_refused_as_tensorflow_serving_refuses_it(
    server: ModelServerProcess, inputs: dict[str, Any], signature: str, code: str, text: str
) -> None:
    protos = {name: tensor(values) for name, values in inputs.items()}
    if signature == "total":  # alone it would pass as it is; together it can't be split
        with ThreadPoolExecutor(2) as pool:
            got = list(pool.map(lambda _: refusal(lambda: server.predict_raw("types", protos, signature)), range(2)))
        assert got == [(code, text)] * 2
    else:
        assert refusal(lambda: server.predict_raw("types", protos, signature)) == (code, text)


def test_large_requests_are_split_and_small_ones_padded_where_that_is_allowed(
    small_models: Path, tmp_path: Path
) -> None:
    parameters = PARAMETERS + (
        "enable_large_batch_splitting { value: true } allowed_batch_sizes: 4 allowed_batch_sizes: 16"
        " pad_variable_length_inputs: true"
    )
    with start(small_models, tmp_path, parameters) as server:
        x = np.arange(50, dtype=np.float32)
        assert server.predict("affine", x).tolist() == (x / 2 + 3).tolist()
        assert server.predict("affine", [1.0]).tolist() == [3.5]
        assert batches(server, "affine") == (5, 16 * 3 + 4 + 4)

        def ask(width: int) -> list[float]:
            table = np.ones([1, width], np.float32)
            return list(array(server.predict_raw("types", {"x": tensor(table)}, "table", ["rows"]).outputs["rows"]))

        with ThreadPoolExecutor(2) as pool:
            assert list(pool.map(ask, (1, 3))) == [[3.0], [3.0]]  # the short row is filled with its own first value


def test_a_model_whose_batches_do_not_end_keeps_no_others_waiting(rest_models: Path, tmp_path: Path) -> None:
    (tmp_path / "batching.config").write_text("num_batch_threads { value: 1 }")
    flags = ("--enable_batching", f"--batching_parameters_file={tmp_path / 'batching.config'}")
    spin, digit = PredictRequest(), PredictRequest()
    spin.model_spec.name, spin.model_spec.signature_name, digit.model_spec.name = "kinds", "spin", "digits"
    spin.inputs["rounds"].CopyFrom(tensor([10**12], np.int64))
    digit.inputs["inputs"].CopyFrom(tensor(np.zeros([1, 28, 28, 1])))
    models = [entry(rest_models / name) for name in ("kinds", "digits")]
    with ModelServerProcess(tmp_path / "home", models, *flags, rest=False) as server:
        spinning = server.prediction().Predict.future(spin, timeout=60)
        for _ in range(3):
            server.prediction().Predict(digit, timeout=30)
        assert not spinning.done()
        spinning.cancel()

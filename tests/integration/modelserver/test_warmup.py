"""Warm-up requests are replayed before a version is available, and a bad one fails its load."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infra.modelserver.errors import Code, StatusError
from infra.modelserver.inference import warmup
from infra.modelserver.inference.warmup import MAX_RECORDS, REQUESTS_FILE
from infra.modelserver.metrics import Metrics
from infra.modelserver.runtime.servable import LoadOptions, Servable
from tasks.wire.protos import PredictionLog
from tasks.wire.tfrecord import to_bytes
from tests.integration.modelserver.process import ModelServerProcess, entry, run_to_end, tensor


def predict_log(value: float = 1.0, signature: str = "") -> Any:
    log = PredictionLog()
    request = log.predict_log.request
    request.model_spec.name, request.model_spec.signature_name = "affine", signature
    request.inputs["x"].CopyFrom(tensor([value]))
    return log


@pytest.fixture
def model(small_models: Path, tmp_path: Path) -> Path:
    shutil.copytree(small_models / "affine" / "1", tmp_path / "affine" / "1")
    return tmp_path / "affine"


def put(model: Path, content: bytes) -> None:
    file = model / "1" / REQUESTS_FILE
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)


def failure(model: Path, *flags: str) -> str:
    """What a server says that must not start with this model."""
    code, output = run_to_end(f"--model_base_path={model}", "--port=1", "--max_num_load_retries=0", *flags)
    assert code == 1
    return output.splitlines()[-1]


def test_the_model_is_available_when_its_warm_up_requests_were_run(model: Path, tmp_path: Path) -> None:
    put(model, to_bytes([predict_log(float(n)).SerializeToString() for n in range(3)]))
    (tmp_path / "m.config").write_text('prometheus_config { enable: true path: "/metrics" }')
    flags = (f"--monitoring_config_file={tmp_path / 'm.config'}", "--num_request_iterations_for_warmup=2")
    with ModelServerProcess(tmp_path / "home", [entry(model)], *flags) as server:
        page = server.rest("/metrics").text
    assert ':tensorflow:serving:runtime_latency_count{model_name="affine",API="Predict",runtime="TF1"} 6' in page
    assert f':tensorflow:serving:model_warmup_latency_count{{model_path="{model / "1"}",status="OK"}} 1' in page


def test_a_request_that_fails_fails_the_load_with_its_own_reason(model: Path) -> None:
    put(model, to_bytes([predict_log().SerializeToString(), predict_log(signature="nope").SerializeToString()]))
    assert 'FAILED_PRECONDITION: Serving signature key "nope" not found.' in failure(model)


def test_it_is_not_replayed_where_that_is_switched_off(model: Path, tmp_path: Path) -> None:
    put(model, b"no record")
    with ModelServerProcess(tmp_path / "home", [entry(model)], "--enable_model_warmup=false") as server:
        assert server.states("affine") == {1: "AVAILABLE"}


def test_a_damaged_file_fails_the_load(model: Path) -> None:
    put(model, to_bytes([predict_log().SerializeToString()])[:-1])
    assert "truncated record at 0. Please verify your warmup data is in TFRecord format." in failure(model)


def test_a_record_that_is_no_prediction_log_fails_the_load(model: Path) -> None:
    put(model, to_bytes([b"\xff\xff"]))
    assert "INVALID_ARGUMENT: Failed to parse warmup record" in failure(model)


def test_a_kind_of_log_that_cannot_be_replayed_fails_the_load(model: Path) -> None:
    log = PredictionLog()
    log.session_run_log.SetInParent()
    put(model, to_bytes([log.SerializeToString()]))
    assert "UNIMPLEMENTED: Unsupported log_type for warmup: 5" in failure(model)


def test_more_records_than_a_thousand_fail_the_load(model: Path) -> None:
    put(model, to_bytes([predict_log().SerializeToString()] * (MAX_RECORDS + 1)))
    assert "Number of warmup records exceeds the maximum (1000)" in failure(model)


def test_a_request_that_does_not_end_fails_the_load(
    rest_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = PredictionLog()
    request = log.predict_log.request
    request.model_spec.name, request.model_spec.signature_name = "kinds", "spin"
    request.inputs["rounds"].CopyFrom(tensor([10**12], np.int64))
    shutil.copytree(rest_models / "kinds" / "1", tmp_path / "kinds" / "1")
    put(tmp_path / "kinds", to_bytes([log.SerializeToString()]))
    monkeypatch.setattr(warmup, "SECONDS", 0.1)
    servable = Servable("kinds", 1, str(tmp_path / "kinds" / "1"), LoadOptions(), Metrics())
    with pytest.raises(StatusError, match="Timed out") as late:
        warmup.replay(servable)
    assert late.value.code is Code.DEADLINE_EXCEEDED
    servable.close()

"""Replaying a version's warm-up requests before it is available (saved_model_warmup_util.cc)."""

import time
from pathlib import Path

from google.protobuf.message import DecodeError

from infra.modelserver.errors import Code, StatusError, invalid_argument
from infra.modelserver.inference.examples import classify, multi_inference, regress
from infra.modelserver.inference.predict import predict_message
from infra.modelserver.runtime.servable import Servable
from tasks.wire.protos import PredictionLog
from tasks.wire.tfrecord import RecordError, read_records

REQUESTS_FILE = Path("assets.extra", "tf_serving_warmup_requests")
MAX_RECORDS = 1000
SECONDS = 60.0  # for one request: no other version can load meanwhile


def replay(servable: Servable, iterations: int = 1) -> int:
    """Run each of a version's warm-up requests `iterations` times; how many requests there are.

    Raises:
        StatusError: a request failed, the file is damaged, or it holds more than 1,000 records. Each fails the load.
    """
    path = Path(servable.path) / REQUESTS_FILE
    if not path.exists():
        return 0
    start, status = time.perf_counter(), Code.OK
    try:
        return _replay_file(servable, path, iterations)
    except StatusError as error:
        status = error.code
        raise
    finally:
        servable.metrics.record_warmup(servable.path, time.perf_counter() - start, status.name)


def _replay_file(servable: Servable, path: Path, iterations: int) -> int:
    count = 0
    try:
        with path.open("rb") as file:
            for record in read_records(file):
                log = _parse(record, path)
                for _ in range(iterations):
                    _run(servable, log)
                count += 1
                if count > MAX_RECORDS:
                    raise invalid_argument(f"Number of warmup records exceeds the maximum ({MAX_RECORDS}) at {path}")
    except OSError as error:
        raise StatusError(Code.INTERNAL, f"{path} can't be read: {error}") from error
    except RecordError as error:
        text = f"{error}. Please verify your warmup data is in TFRecord format."
        raise StatusError(Code.DATA_LOSS, text) from error
    return count


def _parse(record: bytes, path: Path) -> PredictionLog:
    try:
        return PredictionLog.FromString(record)
    except DecodeError as error:
        text = record.decode("utf-8", "replace")
        raise invalid_argument(f"Failed to parse warmup record: {text} from {path}") from error


def _run(servable: Servable, log: PredictionLog) -> None:
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        predict_message(servable, log.predict_log.request, SECONDS)
    elif kind == "classify_log":
        classify(servable, log.classify_log.request, SECONDS)
    elif kind == "regress_log":
        regress(servable, log.regress_log.request, SECONDS)
    elif kind == "multi_inference_log":
        multi_inference(servable, log.multi_inference_log.request, SECONDS)
    else:
        number = PredictionLog.DESCRIPTOR.fields_by_name[kind].number if kind else 0
        raise StatusError(Code.UNIMPLEMENTED, f"Unsupported log_type for warmup: {number}")

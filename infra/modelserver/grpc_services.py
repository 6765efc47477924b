"""PredictionService and ModelService over gRPC."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import grpc

from infra.modelserver.errors import Code, StatusError, as_status, invalid_argument
from infra.modelserver.inference import examples
from infra.modelserver.inference.describe import metadata, model_status, version_choice
from infra.modelserver.inference.predict import predict_message
from infra.modelserver.lifecycle.manager import Manager
from infra.modelserver.lifecycle.reload import Reloader
from infra.modelserver.limits import CallLimits
from infra.modelserver.metrics import Metrics
from infra.modelserver.runtime.servable import Servable
from tasks.wire.protos import (
    ClassificationRequest,
    ClassificationResponse,
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    GetModelStatusRequest,
    GetModelStatusResponse,
    ModelServiceServicer,
    ModelSpec,
    MultiInferenceRequest,
    MultiInferenceResponse,
    PredictionServiceServicer,
    PredictRequest,
    PredictResponse,
    RegressionRequest,
    RegressionResponse,
    ReloadConfigRequest,
    ReloadConfigResponse,
)

log = logging.getLogger(__name__)

Request = TypeVar("Request")
Reply = TypeVar("Reply")

_LONGEST_MESSAGE = 1024


@dataclass(frozen=True, slots=True)
class GrpcOptions:
    """How gRPC calls are answered.

    as_content packs Predict's outputs into tensor_content; enforce_timeout ends a run at its call's deadline;
    log_requests writes one line per call.
    """

    as_content: bool = False
    enforce_timeout: bool = True
    log_requests: bool = False


def details(message: str) -> str:
    """An error's text as TensorFlow Serving sends it: at most 1,024 bytes (grpc_status_util.cc)."""
    encoded = message.encode()
    if len(encoded) <= _LONGEST_MESSAGE:
        return message
    return encoded[:_LONGEST_MESSAGE].decode(errors="ignore") + "...TRUNCATED"


def _answer(
    context: grpc.ServicerContext,
    work: Callable[[], Reply],
    record: Callable[[Code, float], None] = lambda _code, _seconds: None,
) -> Reply:
    """The work's reply; an error becomes the call's status. record is told how it ended, and after how many seconds."""
    start, error = time.perf_counter(), None
    try:
        return work()
    except Exception as problem:  # noqa: BLE001 - whatever it is, the client is answered
        error = as_status(problem)
    finally:
        record(error.code if error else Code.OK, time.perf_counter() - start)
    return context.abort(error.code.grpc_status, details(error.message))


def _spec_of(request: PredictRequest | ClassificationRequest | RegressionRequest) -> ModelSpec | None:
    return request.model_spec if request.HasField("model_spec") else None


class PredictionService(PredictionServiceServicer):  # type: ignore[misc]
    """Predict, Classify, Regress, MultiInference and GetModelMetadata."""

    def __init__(self, manager: Manager, metrics: Metrics, limits: CallLimits, options: GrpcOptions) -> None:
        self._manager, self._metrics, self._limits, self._options = manager, metrics, limits, options

    def Predict(self, request: PredictRequest, context: grpc.ServicerContext) -> PredictResponse:  # noqa: N802
        """Run a signature on tensors."""
        work = partial(predict_message, as_content=self._options.as_content)
        return self._measured("Predict", request, _spec_of(request), context, work)

    def Classify(  # noqa: N802
        self, request: ClassificationRequest, context: grpc.ServicerContext
    ) -> ClassificationResponse:
        """Run a classification signature on tf.Examples."""
        return self._measured("Classify", request, _spec_of(request), context, examples.classify)

    def Regress(self, request: RegressionRequest, context: grpc.ServicerContext) -> RegressionResponse:  # noqa: N802
        """Run a regression signature on tf.Examples."""
        return self._measured("Regress", request, _spec_of(request), context, examples.regress)

    def MultiInference(  # noqa: N802
        self, request: MultiInferenceRequest, context: grpc.ServicerContext
    ) -> MultiInferenceResponse:
        """Run several signatures on the same tf.Examples."""
        spec = request.tasks[0].model_spec if request.tasks else ModelSpec()
        return self._measured("MultiInference", request, spec, context, examples.multi_inference)

    def GetModelMetadata(  # noqa: N802
        self, request: GetModelMetadataRequest, context: grpc.ServicerContext
    ) -> GetModelMetadataResponse:
        """The signatures of a model."""
        return _answer(context, lambda: metadata(self._manager, request))

    def _measured(
        self,
        api: str,
        request: Request,
        spec: ModelSpec | None,
        context: grpc.ServicerContext,
        work: Callable[[Servable, Request, float | None], Reply],
    ) -> Reply:
        """The work's reply from the model that spec names, when it is the model's turn; counted, timed and logged."""
        model = spec.name if spec is not None else ""

        def answer() -> Reply:
            with self._limits.turn(model, self._seconds_left(context)):
                if spec is None:
                    raise invalid_argument("Missing ModelSpec")
                with self._manager.acquire(*version_choice(spec)) as servable:
                    return work(servable, request, self._seconds_left(context))

        def record(code: Code, seconds: float) -> None:
            known = model if self._manager.serves(model) else ""
            self._metrics.record_request(known, api, "GRPC", code.name, seconds)
            if self._options.log_requests:
                log.info("gRPC %s %s %s %.1f ms", api, model, code.name, 1e3 * seconds)

        return _answer(context, answer, record)

    def _seconds_left(self, context: grpc.ServicerContext) -> float | None:
        return context.time_remaining() if self._options.enforce_timeout else None


class ModelService(ModelServiceServicer):  # type: ignore[misc]
    """GetModelStatus and HandleReloadConfigRequest."""

    def __init__(self, manager: Manager, reloader: Reloader) -> None:
        self._manager, self._reloader = manager, reloader

    def GetModelStatus(  # noqa: N802
        self, request: GetModelStatusRequest, context: grpc.ServicerContext
    ) -> GetModelStatusResponse:
        """The state of a model's versions."""
        return _answer(context, lambda: model_status(self._manager, request))

    def HandleReloadConfigRequest(  # noqa: N802
        self, request: ReloadConfigRequest, context: grpc.ServicerContext
    ) -> ReloadConfigResponse:
        """Take a new config in place of the one before."""
        return _answer(context, lambda: self._reload(request, context))

    def _reload(self, request: ReloadConfigRequest, context: grpc.ServicerContext) -> ReloadConfigResponse:
        response = ReloadConfigResponse()
        try:
            if request.config.WhichOneof("config") != "model_config_list":
                raise invalid_argument(
                    "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is "
                    "currently supported"
                )
            self._reloader.apply(request.config, cancelled=lambda: not context.is_active())
        except StatusError as error:
            log.warning("refused a reload: %s", error)
            raise
        response.status.SetInParent()
        return response

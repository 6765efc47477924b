"""PredictionService and ModelService over gRPC."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import grpc

from infra.modelserver.errors import Code, StatusError, invalid_argument
from infra.modelserver.inference import examples
from infra.modelserver.inference.describe import metadata, model_status
from infra.modelserver.inference.predict import predict
from infra.modelserver.lifecycle.manager import Manager
from infra.modelserver.lifecycle.reload import Reloader
from infra.modelserver.limits import CallLimits
from infra.modelserver.metrics import Metrics
from tasks.wire.protos import (
    ClassificationRequest,
    ClassificationResponse,
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    GetModelStatusRequest,
    GetModelStatusResponse,
    ModelServiceServicer,
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


def _answer(context: grpc.ServicerContext, work: Callable[[], Reply]) -> Reply:
    """The work's reply; a StatusError becomes the call's status, and any other error becomes INTERNAL."""
    try:
        return work()
    except StatusError as error:
        code, message = error.code, error.message
    except Exception as error:
        log.exception("a gRPC call failed")
        code, message = Code.INTERNAL, f"{type(error).__name__}: {error}"
    return context.abort(code.grpc_status, details(message))


class PredictionService(PredictionServiceServicer):  # type: ignore[misc]
    """Predict, Classify, Regress, MultiInference and GetModelMetadata."""

    def __init__(self, manager: Manager, metrics: Metrics, limits: CallLimits, options: GrpcOptions) -> None:
        self._manager, self._metrics, self._limits, self._options = manager, metrics, limits, options

    def Predict(self, request: PredictRequest, context: grpc.ServicerContext) -> PredictResponse:  # noqa: N802
        """Run a signature on tensors."""
        as_content = self._options.as_content
        return self._measured(
            "Predict", request.model_spec.name, context,
            lambda timeout: predict(self._manager, request, timeout, as_content=as_content),
        )  # fmt: skip

    def Classify(  # noqa: N802
        self, request: ClassificationRequest, context: grpc.ServicerContext
    ) -> ClassificationResponse:
        """Run a classification signature on tf.Examples."""
        return self._measured(
            "Classify", request.model_spec.name, context, lambda t: examples.classify(self._manager, request, t)
        )

    def Regress(self, request: RegressionRequest, context: grpc.ServicerContext) -> RegressionResponse:  # noqa: N802
        """Run a regression signature on tf.Examples."""
        return self._measured(
            "Regress", request.model_spec.name, context, lambda t: examples.regress(self._manager, request, t)
        )

    def MultiInference(  # noqa: N802
        self, request: MultiInferenceRequest, context: grpc.ServicerContext
    ) -> MultiInferenceResponse:
        """Run several signatures on the same tf.Examples."""
        name = request.tasks[0].model_spec.name if request.tasks else ""
        return self._measured(
            "MultiInference", name, context, lambda t: examples.multi_inference(self._manager, request, t)
        )

    def GetModelMetadata(  # noqa: N802
        self, request: GetModelMetadataRequest, context: grpc.ServicerContext
    ) -> GetModelMetadataResponse:
        """The signatures of a model."""
        return _answer(context, lambda: metadata(self._manager, request))

    def _measured(
        self, api: str, model: str, context: grpc.ServicerContext, work: Callable[[float | None], Reply]
    ) -> Reply:
        """The work's reply, when it is the model's turn; work is given the seconds that the call has left."""

        def measured() -> Reply:
            start, status = time.perf_counter(), Code.INTERNAL
            try:
                with self._limits.turn(model, self._seconds_left(context)):
                    reply = work(self._seconds_left(context))
                status = Code.OK
                return reply
            except StatusError as error:
                status = error.code
                raise
            finally:
                seconds = time.perf_counter() - start
                self._metrics.record_request(model, api, "GRPC", status.name, seconds)
                if self._options.log_requests:
                    log.info("gRPC %s %s %s %.1f ms", api, model, status.name, 1e3 * seconds)

        return _answer(context, measured)

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

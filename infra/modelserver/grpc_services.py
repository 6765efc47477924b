"""PredictionService and ModelService over gRPC."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc

from infra.modelserver.errors import Code, ServingError, invalid_argument
from infra.modelserver.inference import examples
from infra.modelserver.inference.predict import predict, version_choice
from infra.modelserver.lifecycle.manager import Manager
from infra.modelserver.lifecycle.reload import Reloader
from infra.modelserver.limits import CallLimits
from infra.modelserver.metrics import Metrics
from tasks.wire.protos import (
    GetModelMetadataResponse,
    GetModelStatusResponse,
    ModelServiceServicer,
    PredictionServiceServicer,
    ReloadConfigResponse,
)

log = logging.getLogger(__name__)

_LONGEST_MESSAGE = 1024
_SIGNATURE_DEF = "signature_def"


@dataclass(frozen=True, slots=True)
class GrpcOptions:
    """as_content packs Predict's outputs into tensor_content; enforce_timeout ends a run at its call's deadline."""

    as_content: bool = False
    enforce_timeout: bool = True
    log_requests: bool = False


def details(message: str) -> str:
    """An error's text as TensorFlow Serving sends it: at most 1,024 bytes (grpc_status_util.cc)."""
    encoded = message.encode()
    if len(encoded) <= _LONGEST_MESSAGE:
        return message
    return encoded[:_LONGEST_MESSAGE].decode(errors="ignore") + "...TRUNCATED"


def _answer(context: Any, work: Callable[[], Any]) -> Any:
    """The work's reply; a ServingError becomes the call's status, and what we did not foresee becomes INTERNAL."""
    try:
        return work()
    except ServingError as error:
        code, message = error.code, error.message
    except Exception as error:
        log.exception("a gRPC call failed")
        code, message = Code.INTERNAL, f"{type(error).__name__}: {error}"
    return context.abort(code.grpc_status, details(message))


class PredictionService(PredictionServiceServicer):  # type: ignore[misc]
    """Predict, Classify, Regress, MultiInference and GetModelMetadata."""

    def __init__(self, manager: Manager, metrics: Metrics, limits: CallLimits, options: GrpcOptions) -> None:
        self._manager, self._metrics, self._limits, self._options = manager, metrics, limits, options

    def Predict(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Run a signature on tensors."""
        as_content = self._options.as_content
        return self._measured(
            "Predict", request.model_spec.name, context,
            lambda timeout: predict(self._manager, request, timeout, as_content=as_content),
        )  # fmt: skip

    def Classify(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Run a classification signature on tf.Examples."""
        return self._measured(
            "Classify", request.model_spec.name, context, lambda t: examples.classify(self._manager, request, t)
        )

    def Regress(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Run a regression signature on tf.Examples."""
        return self._measured(
            "Regress", request.model_spec.name, context, lambda t: examples.regress(self._manager, request, t)
        )

    def MultiInference(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Run several signatures on the same tf.Examples."""
        name = request.tasks[0].model_spec.name if request.tasks else ""
        return self._measured(
            "MultiInference", name, context, lambda t: examples.multi_inference(self._manager, request, t)
        )

    def GetModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        """The signatures of a model."""
        return _answer(context, lambda: metadata(self._manager, request))

    def _measured(self, api: str, model: str, context: Any, work: Callable[[float | None], Any]) -> Any:
        start = time.perf_counter()
        timeout = context.time_remaining() if self._options.enforce_timeout else None
        status = Code.INTERNAL
        try:
            with self._limits.turn(model, timeout):
                reply = work(context.time_remaining() if self._options.enforce_timeout else None)
            status = Code.OK
            return reply
        except ServingError as error:
            status = error.code
            return context.abort(error.code.grpc_status, details(error.message))
        except Exception as error:
            log.exception("a gRPC call failed")
            return context.abort(grpc.StatusCode.INTERNAL, details(f"{type(error).__name__}: {error}"))
        finally:
            seconds = time.perf_counter() - start
            self._metrics.record_request(model, api, "GRPC", status.name, seconds)
            if self._options.log_requests:
                log.info("gRPC %s %s %s %.1f ms", api, model, status.name, 1e3 * seconds)


def metadata(manager: Manager, request: Any) -> Any:
    """Answer a GetModelMetadataRequest. Raises ServingError (get_model_metadata_impl.cc)."""
    if not request.HasField("model_spec"):
        raise invalid_argument("Missing ModelSpec")
    if not request.metadata_field:
        raise invalid_argument("GetModelMetadataRequest must specify at least one metadata_field")
    for wanted in request.metadata_field:
        if wanted != _SIGNATURE_DEF:
            raise invalid_argument(f"Metadata field {wanted} is not supported")
    response = GetModelMetadataResponse()
    with manager.acquire(*version_choice(request.model_spec)) as servable:
        response.model_spec.name = servable.name
        response.model_spec.version.value = servable.version
        response.metadata[_SIGNATURE_DEF].Pack(servable.signature_map_proto)
    return response


def model_status(manager: Manager, request: Any) -> Any:
    """Answer a GetModelStatusRequest. Raises ServingError (get_model_status_impl.cc)."""
    if not request.HasField("model_spec"):
        raise invalid_argument("Missing ModelSpec")
    name, version, _ = version_choice(request.model_spec)
    response = GetModelStatusResponse()
    for status in manager.statuses(name, version):
        item = response.model_version_status.add(version=status.version, state=status.state)
        item.status.SetInParent()
        item.status.error_code = status.code
        item.status.error_message = status.message
    return response


class ModelService(ModelServiceServicer):  # type: ignore[misc]
    """GetModelStatus and HandleReloadConfigRequest."""

    def __init__(self, manager: Manager, reloader: Reloader) -> None:
        self._manager, self._reloader = manager, reloader

    def GetModelStatus(self, request: Any, context: Any) -> Any:  # noqa: N802
        """The state of a model's versions."""
        return _answer(context, lambda: model_status(self._manager, request))

    def HandleReloadConfigRequest(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Take a new config in place of the one before."""
        return _answer(context, lambda: self._reload(request, context))

    def _reload(self, request: Any, context: Any) -> Any:
        response = ReloadConfigResponse()
        try:
            if request.config.WhichOneof("config") != "model_config_list":
                raise invalid_argument(
                    "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is "
                    "currently supported"
                )
            self._reloader.apply(request.config, cancelled=lambda: not context.is_active())
        except ServingError as error:
            log.warning("refused a reload: %s", error)
            raise
        response.status.SetInParent()
        return response

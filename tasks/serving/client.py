"""A model server asked over its two protocols: TensorFlow Serving's, or any that answers as it does."""

import base64
import json
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import grpc
import numpy as np
import requests
import stamina
from google.protobuf.message import Message

from tasks.errors import DeadlineExceeded, InvalidInput, ServingError, ServingRefused, ServingUnreachable
from tasks.records import SignatureSpec, TensorSpec, VersionState
from tasks.wire import raised_as
from tasks.wire.dtypes import Array, numpy_dtype
from tasks.wire.protos import (
    GetModelStatusRequest,
    ModelServerConfig,
    ModelServiceStub,
    ModelSpec,
    ModelVersionStatus,
    PredictionServiceStub,
    PredictRequest,
    ReloadConfigRequest,
)
from tasks.wire.tensors import from_proto, to_proto

_GRPC_OPTIONS = [
    # A Python client takes 4 MB by default, the server sends up to 2 GB.
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # A restarted server is found again within a second, not after a back-off of two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # A proxy of the environment is for the outside, not for our own replicas.
    ("grpc.enable_http_proxy", 0),
]
# A busy TensorFlow Serving turns calls away when its threads are taken: the call never began.
_BUSY = grpc.StatusCode.RESOURCE_EXHAUSTED
_LONGEST = 300  # characters of a server's answer in a message


class _Busy(ServingError):
    """The server turned the call away before it began."""


@dataclass(frozen=True)
class Answer:
    """The answer to a prediction: outputs by name, and how long it took."""

    outputs: Mapping[str, Array]
    version: int | None  # the version that answered; REST does not say
    seconds: float


@dataclass(frozen=True)
class Target:
    """Which model, and which of its versions, a question is for; no version and no label: the highest loaded one."""

    model: str
    version: int | None = None
    label: str | None = None

    def __str__(self) -> str:
        part = f"versions/{self.version}" if self.version is not None else f"labels/{self.label}" if self.label else ""
        return f"{self.model}/{part}" if part else self.model

    @property
    def path(self) -> str:
        """This target in a REST path."""
        return f"/v1/models/{self}"

    def spec(self, signature: str = "") -> ModelSpec:
        """This target in a gRPC request."""
        spec = ModelSpec(name=self.model, signature_name=signature)
        if self.version is not None:
            spec.version.value = self.version
        elif self.label:
            spec.version_label = self.label
        return spec


class Predicts(Protocol):
    """What whoever asks for predictions needs of a model server's client.

    Raises (both methods):
        ServingUnreachable: no answer.
        ServingRefused, DeadlineExceeded: it answered with an error, or too late.
    """

    def predict_rest(self, target: Target, signature: str, inputs: Mapping[str, Array], spec: SignatureSpec) -> Answer:
        """Ask over REST."""

    def predict_grpc(
        self, target: Target, signature: str, inputs: Mapping[str, Array], outputs: Collection[str] = ()
    ) -> Answer:
        """Ask over gRPC, for these outputs; none: for all."""


class ServingClient:
    """One model server. Every call has a deadline.

    Raises (all methods):
        ServingUnreachable: no answer.
        ServingRefused: it answered with an error.
        DeadlineExceeded: the answer took longer than `deadline` seconds.
    """

    def __init__(self, grpc_address: str, rest_url: str, deadline: float = 10.0) -> None:
        self.grpc_address = grpc_address
        self.rest_url = rest_url.rstrip("/")
        self.deadline = deadline
        self._channel = grpc.insecure_channel(grpc_address, options=_GRPC_OPTIONS)
        self._models = ModelServiceStub(self._channel)
        self._predictions = PredictionServiceStub(self._channel)
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy, as above; and no credentials of ~/.netrc

    def __enter__(self) -> "ServingClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._channel.close()
        self._session.close()

    def statuses(self, model: str) -> tuple[VersionState, ...]:
        """State of every version of `model` that the server knows, highest first; empty if it knows none."""
        try:
            reply = self._call(self._models.GetModelStatus, GetModelStatusRequest(model_spec=ModelSpec(name=model)))
        except ServingRefused as error:
            if error.code == "NOT_FOUND":
                return ()
            raise
        return tuple(_state(s) for s in reply.model_version_status)

    def reload(self, config: ModelServerConfig, deadline: float) -> None:
        """Replace the server's whole config with `config`.

        Returns before a new version of a known model has loaded, but after a new model has
        (`HandleReloadConfigRequest` waits only for new names, and has no time-out).
        """
        self._call(self._models.HandleReloadConfigRequest, ReloadConfigRequest(config=config), deadline)

    @raised_as(InvalidInput)
    def predict_grpc(
        self, target: Target, signature: str, inputs: Mapping[str, Array], outputs: Collection[str] = ()
    ) -> Answer:
        """Ask `signature` over gRPC; `inputs` are arrays by name, of the dtypes and shapes that the signature takes.

        Args:
            outputs: the ones to be answered; none: all.
        """
        request = PredictRequest(
            model_spec=target.spec(signature),
            inputs={name: to_proto(array) for name, array in inputs.items()},
            output_filter=outputs,
        )
        began = time.monotonic()
        reply = self._call(self._predictions.Predict, request)
        seconds = time.monotonic() - began
        answers = {name: from_proto(proto) for name, proto in reply.outputs.items()}
        return Answer(answers, reply.model_spec.version.value, seconds)

    def predict_rest(self, target: Target, signature: str, inputs: Mapping[str, Array], spec: SignatureSpec) -> Answer:
        """Ask `signature` over REST, in column form; `spec` says which dtypes JSON lacks."""
        body = {"signature_name": signature, "inputs": {name: _to_json(array) for name, array in inputs.items()}}
        began = time.monotonic()
        reply = self.rest("POST", f"{target.path}:predict", body)
        seconds = time.monotonic() - began
        outputs = reply.get("outputs")
        if len(spec.outputs) == 1:
            outputs = {next(iter(spec.outputs)): outputs}
        if not isinstance(outputs, dict) or outputs.keys() != spec.outputs.keys():
            raise ServingRefused(
                f"{self.rest_url}{target.path} answered signature {signature!r} without the outputs "
                f"{', '.join(sorted(spec.outputs))}: it serves another model."
            )
        return Answer({name: _from_json(outputs[name], spec.outputs[name]) for name in outputs}, None, seconds)

    def rest(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """One REST call; the JSON object that it answered."""
        url = self.rest_url + path
        try:
            response = self._session.request(method, url, json=None, data=_dump(body), timeout=self.deadline)
        except requests.Timeout as error:
            raise DeadlineExceeded(f"{url} did not answer within {self.deadline:g} s.") from error
        except requests.RequestException as error:
            raise ServingUnreachable(
                f"No model server answers at {self.rest_url} ({type(error).__name__}): is it running? "
                "See `slipway status`."
            ) from error
        try:
            reply = response.json()
        except ValueError:
            reply = None
        if not response.ok or not isinstance(reply, dict):
            message = reply.get("error") if isinstance(reply, dict) else response.text
            told = _shortened(str(message))
            raise ServingRefused(f"{url} answered {response.status_code}: {told}", str(response.status_code))
        return reply

    def _call(self, method: Any, request: Message, deadline: float | None = None) -> Any:
        """One gRPC call, tried again while the server is too busy to begin it."""
        end = time.monotonic() + (deadline or self.deadline)
        busy: _Busy | None = None
        for attempt in stamina.retry_context(on=_Busy, attempts=10, timeout=deadline or self.deadline, wait_max=1.0):
            with attempt:
                try:
                    return method(request, timeout=max(0.001, end - time.monotonic()))
                except grpc.RpcError as error:
                    told = self._translated(error, deadline or self.deadline)
                    if isinstance(told, _Busy):
                        busy = told
                    elif isinstance(told, DeadlineExceeded) and busy is not None:
                        told = busy  # the last try had no time left to be told so again
                    raise told from None
        raise AssertionError  # pragma: no cover: the loop returns or raises

    def _translated(self, error: Any, deadline: float) -> Exception:
        code, details = error.code(), error.details() or ""
        if code is _BUSY:
            return _Busy(f"The model server at {self.grpc_address} is too busy: {details}")
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return DeadlineExceeded(f"The model server at {self.grpc_address} did not answer within {deadline:g} s.")
        if code is grpc.StatusCode.UNAVAILABLE:
            return ServingUnreachable(
                f"No model server answers at {self.grpc_address} ({details[:120]}): is it running? "
                "See `slipway status`."
            )
        return ServingRefused(f"The model server at {self.grpc_address} answered {code.name}: {details}", code.name)


def _shortened(answer: str) -> str:
    """An answer without its middle if it is long: servers repeat the request in it, and say what is wrong around it."""
    half = _LONGEST // 2
    return answer if len(answer) <= _LONGEST else f"{answer[:half]} … {answer[-half:]}"


def _state(status: ModelVersionStatus) -> VersionState:
    codes = status.status.DESCRIPTOR.fields_by_name["error_code"].enum_type.values_by_number
    return VersionState(
        version=status.version,
        state=ModelVersionStatus.State.Name(status.state),
        code=codes[status.status.error_code].name,
        message=status.status.error_message,
    )


def _dump(body: Mapping[str, Any] | None) -> bytes | None:
    # The standard library writes NaN and Infinity as bare tokens, as TensorFlow Serving reads them.
    return None if body is None else json.dumps(body).encode()


def _to_json(array: Array) -> Any:
    if array.dtype == object:
        flat = [{"b64": base64.b64encode(v).decode()} for v in array.ravel()]
        return np.array(flat, dtype=object).reshape(array.shape).tolist()
    return array.tolist()


def _from_json(value: Any, spec: TensorSpec) -> Array:
    if spec.dtype != "string":
        return np.asarray(value, dtype=numpy_dtype(spec.dtype))
    return _bytes_array(value)


def _bytes_array(value: Any) -> Array:
    """Nested lists of strings and {"b64": …} objects as an object array of bytes."""
    shape, first = [], value
    while isinstance(first, list):
        shape.append(len(first))
        first = first[0] if first else None
    flat: list[Any] = [value]
    for _ in shape:
        flat = [item for part in flat for item in part]
    array = np.empty(len(flat), dtype=object)
    array[:] = [base64.b64decode(v["b64"]) if isinstance(v, dict) else str(v).encode() for v in flat]
    return array.reshape(shape)

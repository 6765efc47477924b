"""A real model server for tests of its gRPC half and its life: a process, and a client of it."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
import numpy as np
import requests
from google.protobuf import text_format

from infra.modelserver.runtime import c_api, tensors
from tasks.wire.dtypes import data_type_of
from tasks.wire.protos import (
    GetModelStatusRequest,
    ModelServiceStub,
    ModelVersionStatus,
    PredictionServiceStub,
    PredictRequest,
    ReloadConfigRequest,
    TensorProto,
)
from tests.helpers import local
from tests.helpers.local import until

_ANY_SIZE = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
DEADLINE = 30.0


def free_ports(count: int) -> list[int]:
    """Ports that are free now."""
    return list(local.free_ports(tuple(map(str, range(count)))).values())


def entry(base: Path, more: str = "", name: str | None = None) -> str:
    """A model's part of a config."""
    return f"config {{ name: '{name or base.name}' base_path: '{base}' model_platform: 'tensorflow' {more} }} "


def specific(*versions: int) -> str:
    """The policy that wants these versions."""
    return f"model_version_policy {{ specific {{ {' '.join(f'versions: {v}' for v in versions)} }} }}"


def config(*entries: str) -> Any:
    """A ModelServerConfig."""
    request = ReloadConfigRequest()
    return text_format.Parse(f"model_config_list {{ {''.join(entries)} }}", request.config)


def tensor(values: Any, dtype: Any = np.float32) -> Any:
    """A TensorProto with tensor_content, or string_val for bytes."""
    array = np.array(values, dtype=dtype)
    c_api.load()
    made = c_api.tensor_from_array(array, data_type_of(array.dtype))
    proto = TensorProto()
    tensors.to_proto(made, proto, as_content=True)
    c_api.delete(made)
    return proto


def array(proto: Any) -> Any:
    """What a TensorProto holds."""
    c_api.load()
    made = tensors.from_proto(proto)
    values = c_api.array_from_tensor(made)
    c_api.delete(made)
    return values


class ModelServerProcess(AbstractContextManager["ModelServerProcess"]):
    """`slipway-model-server` on free ports, with the models of a config."""

    def __init__(self, home: Path, models: Sequence[str], *flags: str, rest: bool = True) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.grpc_port, self.rest_port = free_ports(2)
        self.config_file = home / "models.config"
        self.write_config(models)
        self.log = home / "server.log"
        ports = [f"--port={self.grpc_port}", *([f"--rest_api_port={self.rest_port}"] if rest else [])]
        self._rest = rest
        self.process = subprocess.Popen(
            [sys.executable, "-m", "infra.modelserver", *ports, f"--model_config_file={self.config_file}", *flags],
            stdout=self.log.open("wb"),
            stderr=subprocess.STDOUT,
        )
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.grpc_port}", options=_ANY_SIZE)

    def write_config(self, models: Sequence[str]) -> None:
        """Put a config into the file, at once."""
        text = text_format.MessageToString(config(*models))
        temporary = self.config_file.with_suffix(".tmp")
        temporary.write_text(text)
        temporary.rename(self.config_file)

    def __enter__(self) -> Self:
        try:
            until(self._is_open, "the model server is open")
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def _is_open(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()[-3000:]
        for port in (self.grpc_port, *([self.rest_port] if self._rest else [])):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) != 0:
                    return False
        return True

    def kill(self) -> None:
        """End it as a power cut would."""
        self.channel.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def lines(self, word: str) -> list[str]:
        """The log's lines with this word."""
        return [line for line in self.log.read_text().splitlines() if word in line]

    # -- asking it

    def prediction(self) -> Any:
        """A stub of PredictionService."""
        return PredictionServiceStub(self.channel)

    def service(self) -> Any:
        """A stub of ModelService."""
        return ModelServiceStub(self.channel)

    def predict_raw(
        self, model: str, inputs: Mapping[str, Any], signature: str = "", outputs: Sequence[str] = (), **spec: Any
    ) -> Any:
        """A PredictResponse; inputs are TensorProtos. spec: version or version_label."""
        request = PredictRequest(output_filter=outputs)
        request.model_spec.name, request.model_spec.signature_name = model, signature
        if "version" in spec:
            request.model_spec.version.value = spec["version"]
        if "version_label" in spec:
            request.model_spec.version_label = spec["version_label"]
        for name, proto in inputs.items():
            request.inputs[name].CopyFrom(proto)
        return self.prediction().Predict(request, timeout=DEADLINE)

    def predict(self, model: str, x: Any, signature: str = "", **spec: Any) -> Any:
        """The only output for the input `x`."""
        reply = self.predict_raw(model, {"x": tensor(x)}, signature, **spec)
        (output,) = reply.outputs.values()
        return array(output)

    def reload(self, *entries: str) -> None:
        """Take a new config; raises grpc.RpcError if it is refused."""
        request = ReloadConfigRequest(config=config(*entries))
        self.service().HandleReloadConfigRequest(request, timeout=DEADLINE)

    def states(self, model: str) -> dict[int, str]:
        """Version → state."""
        request = GetModelStatusRequest()
        request.model_spec.name = model
        reply = self.service().GetModelStatus(request, timeout=DEADLINE)
        names = ModelVersionStatus.State
        return {item.version: names.Name(item.state) for item in reply.model_version_status}

    def reaches(self, model: str, states: Mapping[int, str]) -> None:
        """Wait until the model's versions are in these states."""
        until(lambda: self.states(model) == states, f"{model} is {states}")

    def rest(self, path: str, body: Any = None) -> requests.Response:
        """A REST reply."""
        url = f"http://127.0.0.1:{self.rest_port}{path}"
        return requests.get(url, timeout=DEADLINE) if body is None else requests.post(url, json=body, timeout=DEADLINE)


def run_to_end(*flags: str, seconds: float = 60.0) -> tuple[int, str]:
    """Start a server that is not expected to serve: its exit code and what it wrote."""
    done = subprocess.run(
        [sys.executable, "-m", "infra.modelserver", *flags],
        capture_output=True, text=True, timeout=seconds, check=False, env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def refusal(call: Any) -> tuple[str, str]:
    """Code and details of the gRPC error that call() raises."""
    try:
        call()
    except grpc.RpcError as error:
        return error.code().name, error.details() or ""
    raise AssertionError("the call was not refused")

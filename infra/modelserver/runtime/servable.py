"""One loaded model version: its signatures, and running them."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

import numpy as np

from infra.modelserver.errors import Code, StatusError
from infra.modelserver.metrics import Metrics
from infra.modelserver.runtime import c_api
from infra.modelserver.runtime.graphs import bounded
from tasks.wire.dtypes import DataType
from tasks.wire.protos import MetaGraphDef, SignatureDef, SignatureDefMap
from tasks.wire.protos import TensorInfo as TensorInfoProto

PREDICT_METHOD = "tensorflow/serving/predict"
CLASSIFY_METHOD = "tensorflow/serving/classify"
REGRESS_METHOD = "tensorflow/serving/regress"
DEFAULT_SIGNATURE = "serving_default"
MAX_ANSWER_BYTES = 2**31 - 1  # of gRPC
METHODS = (PREDICT_METHOD, CLASSIFY_METHOD, REGRESS_METHOD)


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One input or output of a signature.

    dtype is NumPy's (for strings it is object, with elements of type bytes); data_type is TensorFlow's DataType number;
    shape has -1 for an unknown dimension, and is None if the rank is unknown.
    """

    name: str
    dtype: np.dtype[Any]
    data_type: int
    shape: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class Signature:
    """One entry of the SavedModel's signature map; aliases of inputs and outputs in alphabetical order.

    defaults are serialized TensorProtos for inputs that a request may leave out.
    """

    name: str
    method_name: str
    inputs: Mapping[str, TensorInfo]
    outputs: Mapping[str, TensorInfo]
    defaults: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How SavedModels are loaded.

    tags choose the meta graph; session_config is a serialized ConfigProto; check_method_names refuses signatures whose
    method name does not fit the call.
    """

    tags: tuple[str, ...] = ("serve",)
    session_config: bytes = b""
    check_method_names: bool = True


class Runner(Protocol):
    """What runs a call: the session itself, or a batcher in front of it."""

    def run(self, call: c_api.Call, tensors: Sequence[int], timeout: float | None) -> list[int]:
        """Run once; tensors are addresses, in the order of the call's feeds and fetches.

        The inputs stay the caller's, and the outputs become the caller's, who gives each to `c_api.delete`.

        Raises:
            StatusError: the run failed, or took longer than `timeout` seconds (None: no limit).
        """


def _tensor_info(proto: TensorInfoProto) -> TensorInfo:
    shape = None if proto.tensor_shape.unknown_rank else tuple(dim.size for dim in proto.tensor_shape.dim)
    return TensorInfo(proto.name, DataType(proto.dtype).numpy, proto.dtype, shape)


def signature_from_proto(name: str, proto: SignatureDef) -> Signature:
    """A Signature from a SignatureDef."""
    return Signature(
        name,
        proto.method_name,
        {alias: _tensor_info(info) for alias, info in sorted(proto.inputs.items())},
        {alias: _tensor_info(info) for alias, info in sorted(proto.outputs.items())},
        {alias: value.SerializeToString() for alias, value in sorted(proto.defaults.items())},
    )


class Servable:
    """A model version in memory. Thread-safe but for close, which must come last."""

    def __init__(self, name: str, version: int, path: str, options: LoadOptions, metrics: Metrics) -> None:
        """Load the SavedModel at a path.

        Raises:
            StatusError: TensorFlow cannot load it; code and text are TensorFlow's.
        """
        self.name, self.version, self.path, self.metrics = name, version, path, metrics
        self.check_method_names = options.check_method_names
        self._session = c_api.Session(path, options.tags, options.session_config, metrics.record_graph_run)
        self.runner: Runner = self._session
        meta_graph = MetaGraphDef.FromString(self._session.meta_graph)
        self._session.meta_graph = b""
        protos = meta_graph.signature_def.values()
        self._bounded = bounded(
            meta_graph.graph_def,
            [info.name for proto in protos for info in proto.inputs.values()],
            [info.name for proto in protos for info in proto.outputs.values()],
        )
        self.signature_map_proto = SignatureDefMap()
        for key, proto in meta_graph.signature_def.items():
            self.signature_map_proto.signature_def[key].CopyFrom(proto)
        self.signatures: Mapping[str, Signature] = {
            key: signature_from_proto(key, proto) for key, proto in meta_graph.signature_def.items()
        }
        self._call = lru_cache(maxsize=1024)(self._resolve)

    def close(self) -> None:
        """Free the memory. No run may be under way."""
        self._session.close()

    def _resolve(self, feeds: tuple[str, ...], fetches: tuple[str, ...]) -> c_api.Call:
        def endpoint(name: str, complaint: str) -> tuple[int, int]:
            found = self._session.endpoint(name)
            if found is None:
                raise StatusError(Code.NOT_FOUND, complaint)
            return found

        return c_api.Call(
            [endpoint(name, f"FeedInputs: unable to find feed output {name}") for name in feeds],
            [endpoint(name, f"FetchOutputs node {name}: not found") for name in fetches],
            is_bounded=self._bounded.issuperset(fetches),
        )

    def merge_runs(self, wrap: Callable[[Runner], Runner]) -> None:
        """Put a runner in front of the session from now on."""
        self.runner = wrap(self.runner)

    def run(
        self,
        api: str,
        feeds: tuple[str, ...],
        tensors: Sequence[int],
        fetches: tuple[str, ...],
        timeout: float | None,
    ) -> list[int]:
        """Feed and fetch tensors by their names in the graph, blocking; `tensors` has one for each of `feeds`.

        The inputs stay the caller's, and the outputs become the caller's. api is the name that the metrics count under.

        Raises:
            StatusError: NOT_FOUND if the graph has no such tensor, RESOURCE_EXHAUSTED if the outputs are too large for
                an answer, or as `Runner.run`.
        """
        start = time.perf_counter()
        results = self.runner.run(self._call(feeds, fetches), tensors, timeout)
        self.metrics.record_run(self.name, api, time.perf_counter() - start)
        size = sum(map(c_api.byte_size, results))
        if size > MAX_ANSWER_BYTES:
            c_api.delete_all(results)
            raise StatusError(
                Code.RESOURCE_EXHAUSTED, f"The outputs take {size} bytes; an answer takes {MAX_ANSWER_BYTES} at most"
            )
        return results

"""TensorFlow's and TensorFlow Serving's messages and gRPC stubs, without the seconds that TensorFlow takes to load.

The generated modules lie inside the `tensorflow` package, and importing any of them the usual way first runs the whole
of TensorFlow. Here their packages are brought in by themselves; `tensorflow` itself is neither loaded nor replaced,
so an `import tensorflow`, later or at the same time in another thread, is the ordinary one and finds these messages.
"""

import importlib
import importlib.machinery
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from tasks.wire import WireError


def tensorflow_directory() -> Path:
    """Where the installed `tensorflow` package is; it is not imported.

    Raises:
        WireError: it is not installed.
    """
    spec = importlib.util.find_spec("tensorflow")
    if spec is None or not spec.submodule_search_locations:
        raise _not_found()
    return Path(spec.submodule_search_locations[0])


def _not_found() -> WireError:
    return WireError("TensorFlow cannot be found: install Slipway with its dependencies (make demo).")


def _load_on_demand(package: ModuleType) -> None:
    """Let `from package import module` find the module without `__import__`, which would load `tensorflow` itself."""

    def load(name: str) -> ModuleType:
        if name.endswith("_pb2"):
            return importlib.import_module(f"{package.__name__}.{name}")
        raise AttributeError(f"module {package.__name__!r} has no attribute {name!r}")

    package.__dict__.setdefault("__getattr__", load)


def _open_message_packages() -> None:
    """Bring in the packages (empty in themselves) that hold TensorFlow's messages, without their parent."""
    directory = str(tensorflow_directory())
    for top in ("tensorflow.core", "tensorflow.compiler"):
        spec = importlib.machinery.PathFinder.find_spec(top, [directory])
        if spec is None or spec.loader is None:
            raise _not_found()
        package = importlib.util.module_from_spec(spec)
        if sys.modules.setdefault(top, package) is package:
            spec.loader.exec_module(package)
    for name in ("core.example", "core.framework", "core.protobuf", "compiler.xla.tsl.protobuf"):
        _load_on_demand(importlib.import_module(f"tensorflow.{name}"))


_open_message_packages()

# ruff: noqa: E402 - the packages must be open before anything is taken from them
from tensorflow.core.example.example_pb2 import Example
from tensorflow.core.example.feature_pb2 import Feature
from tensorflow.core.framework.attr_value_pb2 import AttrValue
from tensorflow.core.framework.graph_pb2 import GraphDef
from tensorflow.core.framework.node_def_pb2 import NodeDef
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow.core.framework.tensor_shape_pb2 import TensorShapeProto
from tensorflow.core.protobuf.config_pb2 import ConfigProto, RunOptions
from tensorflow.core.protobuf.meta_graph_pb2 import AssetFileDef, MetaGraphDef, SignatureDef, TensorInfo
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tensorflow_serving.apis.classification_pb2 import (
    ClassificationRequest,
    ClassificationResponse,
    ClassificationResult,
)
from tensorflow_serving.apis.get_model_metadata_pb2 import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    SignatureDefMap,
)
from tensorflow_serving.apis.get_model_status_pb2 import (
    GetModelStatusRequest,
    GetModelStatusResponse,
    ModelVersionStatus,
)
from tensorflow_serving.apis.inference_pb2 import InferenceTask, MultiInferenceRequest, MultiInferenceResponse
from tensorflow_serving.apis.input_pb2 import Input
from tensorflow_serving.apis.model_management_pb2 import ReloadConfigRequest, ReloadConfigResponse
from tensorflow_serving.apis.model_pb2 import ModelSpec
from tensorflow_serving.apis.model_service_pb2_grpc import (
    ModelServiceServicer,
    ModelServiceStub,
    add_ModelServiceServicer_to_server,
)
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog, PredictLog
from tensorflow_serving.apis.prediction_service_pb2_grpc import (
    PredictionServiceServicer,
    PredictionServiceStub,
    add_PredictionServiceServicer_to_server,
)
from tensorflow_serving.apis.regression_pb2 import RegressionRequest, RegressionResponse, RegressionResult
from tensorflow_serving.config.file_system_storage_path_source_pb2 import FileSystemStoragePathSourceConfig
from tensorflow_serving.config.model_server_config_pb2 import ModelConfig, ModelConfigList, ModelServerConfig, ModelType

__all__ = [
    "AssetFileDef",
    "AttrValue",
    "ClassificationRequest",
    "ClassificationResponse",
    "ClassificationResult",
    "ConfigProto",
    "Example",
    "Feature",
    "FileSystemStoragePathSourceConfig",
    "GetModelMetadataRequest",
    "GetModelMetadataResponse",
    "GetModelStatusRequest",
    "GetModelStatusResponse",
    "GraphDef",
    "InferenceTask",
    "Input",
    "MetaGraphDef",
    "ModelConfig",
    "ModelConfigList",
    "ModelServerConfig",
    "ModelServiceServicer",
    "ModelServiceStub",
    "ModelSpec",
    "ModelType",
    "ModelVersionStatus",
    "MultiInferenceRequest",
    "MultiInferenceResponse",
    "NodeDef",
    "PredictLog",
    "PredictRequest",
    "PredictResponse",
    "PredictionLog",
    "PredictionServiceServicer",
    "PredictionServiceStub",
    "RegressionRequest",
    "RegressionResponse",
    "RegressionResult",
    "ReloadConfigRequest",
    "ReloadConfigResponse",
    "RunOptions",
    "SavedModel",
    "SignatureDef",
    "SignatureDefMap",
    "TensorInfo",
    "TensorProto",
    "TensorShapeProto",
    "add_ModelServiceServicer_to_server",
    "add_PredictionServiceServicer_to_server",
]

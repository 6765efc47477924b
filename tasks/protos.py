"""TensorFlow's and TensorFlow Serving's messages and gRPC stubs, without the seconds that TensorFlow takes to load.

The generated modules lie inside the `tensorflow` package, and importing any of them the usual way first runs the whole
of TensorFlow. Here their packages are brought in by themselves; `tensorflow` itself is neither loaded nor stood in for,
so an `import tensorflow`, later or in another thread meanwhile, is the ordinary one and finds these same messages.
"""

import importlib
import importlib.machinery
import importlib.util
import sys
from types import ModuleType

from tasks.errors import InvalidSettings


def _load_on_demand(package: ModuleType) -> None:
    """Let `from package import module` find the module without `__import__`, which would load `tensorflow` itself."""

    def load(name: str) -> ModuleType:
        if name.endswith("_pb2"):
            return importlib.import_module(f"{package.__name__}.{name}")
        raise AttributeError(f"module {package.__name__!r} has no attribute {name!r}")

    package.__dict__.setdefault("__getattr__", load)


def _open_message_packages() -> None:
    """Bring in the packages (empty in themselves) that hold TensorFlow's messages, without their parent."""
    tensorflow = importlib.util.find_spec("tensorflow")
    for top in ("tensorflow.core", "tensorflow.compiler"):
        spec = tensorflow and importlib.machinery.PathFinder.find_spec(top, tensorflow.submodule_search_locations)
        if spec is None or spec.loader is None:
            raise InvalidSettings("TensorFlow cannot be found: install Slipway with its dependencies (make demo).")
        package = importlib.util.module_from_spec(spec)
        if sys.modules.setdefault(top, package) is package:
            spec.loader.exec_module(package)
    for name in ("core.example", "core.framework", "core.protobuf", "compiler.xla.tsl.protobuf"):
        _load_on_demand(importlib.import_module(f"tensorflow.{name}"))


_open_message_packages()

# ruff: noqa: E402 - the packages must be open before anything is taken from them
from tensorflow.core.example.example_pb2 import Example
from tensorflow.core.framework.graph_pb2 import GraphDef
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow.core.framework.tensor_shape_pb2 import TensorShapeProto
from tensorflow.core.framework.types_pb2 import DataType
from tensorflow.core.protobuf.meta_graph_pb2 import AssetFileDef, MetaGraphDef, SignatureDef, TensorInfo
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
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
from tensorflow_serving.apis.model_management_pb2 import ReloadConfigRequest, ReloadConfigResponse
from tensorflow_serving.apis.model_pb2 import ModelSpec
from tensorflow_serving.apis.model_service_pb2_grpc import ModelServiceStub
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog, PredictLog
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub
from tensorflow_serving.config.file_system_storage_path_source_pb2 import FileSystemStoragePathSourceConfig
from tensorflow_serving.config.model_server_config_pb2 import ModelConfig, ModelConfigList, ModelServerConfig

__all__ = [
    "AssetFileDef",
    "DataType",
    "Example",
    "FileSystemStoragePathSourceConfig",
    "GetModelMetadataRequest",
    "GetModelMetadataResponse",
    "GetModelStatusRequest",
    "GetModelStatusResponse",
    "GraphDef",
    "MetaGraphDef",
    "ModelConfig",
    "ModelConfigList",
    "ModelServerConfig",
    "ModelServiceStub",
    "ModelSpec",
    "ModelVersionStatus",
    "PredictLog",
    "PredictRequest",
    "PredictResponse",
    "PredictionLog",
    "PredictionServiceStub",
    "ReloadConfigRequest",
    "ReloadConfigResponse",
    "SavedModel",
    "SignatureDef",
    "SignatureDefMap",
    "TensorInfo",
    "TensorProto",
    "TensorShapeProto",
]

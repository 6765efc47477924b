"""TensorFlow's and TensorFlow Serving's generated messages, without TensorFlow's Python package.

The generated modules live under `tensorflow.core`, whose package imports all of TensorFlow first: 3 to 10 seconds and
some 300 MB that a model server has no use for. A bare package stands in for it while they are imported, and is taken
away again, so that `import tensorflow` still gives the real one.
"""

import importlib
import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

from infra.modelserver.errors import StartupError


def tensorflow_directory() -> Path:
    """Where the installed tensorflow package lies; it is not imported."""
    spec = importlib.util.find_spec("tensorflow")
    if spec is None or not spec.submodule_search_locations:
        raise StartupError("TensorFlow is not installed; install it with: pip install tensorflow")
    return Path(spec.submodule_search_locations[0])


def _import_all(names: tuple[str, ...]) -> dict[str, Any]:
    if "tensorflow" in sys.modules:
        return {name: importlib.import_module(name) for name in names}
    stand_in = types.ModuleType("tensorflow")
    stand_in.__path__ = [str(tensorflow_directory())]
    sys.modules["tensorflow"] = stand_in
    try:
        return {name: importlib.import_module(name) for name in names}
    finally:
        del sys.modules["tensorflow"]


_modules = _import_all(
    (
        "tensorflow.core.example.example_pb2",
        "tensorflow.core.framework.tensor_pb2",
        "tensorflow.core.framework.types_pb2",
        "tensorflow.core.protobuf.config_pb2",
        "tensorflow.core.protobuf.meta_graph_pb2",
        "tensorflow_serving.apis.classification_pb2",
        "tensorflow_serving.apis.get_model_metadata_pb2",
        "tensorflow_serving.apis.get_model_status_pb2",
        "tensorflow_serving.apis.inference_pb2",
        "tensorflow_serving.apis.input_pb2",
        "tensorflow_serving.apis.model_management_pb2",
        "tensorflow_serving.apis.model_pb2",
        "tensorflow_serving.apis.model_service_pb2_grpc",
        "tensorflow_serving.apis.predict_pb2",
        "tensorflow_serving.apis.prediction_log_pb2",
        "tensorflow_serving.apis.prediction_service_pb2_grpc",
        "tensorflow_serving.apis.regression_pb2",
        "tensorflow_serving.config.model_server_config_pb2",
    )
)


def _module(name: str) -> Any:
    return _modules[name]


example_pb2 = _module("tensorflow.core.example.example_pb2")
tensor_pb2 = _module("tensorflow.core.framework.tensor_pb2")
types_pb2 = _module("tensorflow.core.framework.types_pb2")
config_pb2 = _module("tensorflow.core.protobuf.config_pb2")
meta_graph_pb2 = _module("tensorflow.core.protobuf.meta_graph_pb2")
classification_pb2 = _module("tensorflow_serving.apis.classification_pb2")
get_model_metadata_pb2 = _module("tensorflow_serving.apis.get_model_metadata_pb2")
get_model_status_pb2 = _module("tensorflow_serving.apis.get_model_status_pb2")
inference_pb2 = _module("tensorflow_serving.apis.inference_pb2")
input_pb2 = _module("tensorflow_serving.apis.input_pb2")
model_management_pb2 = _module("tensorflow_serving.apis.model_management_pb2")
model_pb2 = _module("tensorflow_serving.apis.model_pb2")
model_service_pb2_grpc = _module("tensorflow_serving.apis.model_service_pb2_grpc")
predict_pb2 = _module("tensorflow_serving.apis.predict_pb2")
prediction_log_pb2 = _module("tensorflow_serving.apis.prediction_log_pb2")
prediction_service_pb2_grpc = _module("tensorflow_serving.apis.prediction_service_pb2_grpc")
regression_pb2 = _module("tensorflow_serving.apis.regression_pb2")
model_server_config_pb2 = _module("tensorflow_serving.config.model_server_config_pb2")

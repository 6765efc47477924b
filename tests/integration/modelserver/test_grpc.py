"""PredictionService and ModelService beyond the recorded cases."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from tasks.wire.protos import (
    ClassificationRequest,
    Example,
    GetModelMetadataRequest,
    InferenceTask,
    MultiInferenceRequest,
    PredictRequest,
    RegressionRequest,
    TensorProto,
)
from tests.integration.modelserver.process import ModelServerProcess, array, entry, refusal, tensor

NUMBERS = {
    "float32": np.float32, "float64": np.float64, "int8": np.int8, "int16": np.int16, "int32": np.int32,
    "int64": np.int64, "uint8": np.uint8, "uint16": np.uint16, "uint32": np.uint32, "uint64": np.uint64,
    "bool": np.bool_, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16, "complex64": np.complex64,
}  # fmt: skip
MODELS = ("kinds", "examples")


@pytest.fixture(scope="module")
def server(rest_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServerProcess]:
    home, flag = tmp_path_factory.mktemp("grpc"), "--enable_signature_method_name_check"
    with ModelServerProcess(home, [entry(rest_models / name) for name in MODELS], flag) as made:
        yield made


@pytest.fixture(scope="module")
def packing(rest_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServerProcess]:
    home, flag = tmp_path_factory.mktemp("packing"), "--enable_serialization_as_tensor_content"
    with ModelServerProcess(home, [entry(rest_models / name) for name in MODELS], flag) as made:
        yield made


def example(**features: float) -> Any:
    made = Example()
    for name, value in features.items():
        made.features.feature[name].float_list.value.append(value)
    return made


def fill(request: Any, *examples: Any, context: Any = None, signature: str = "") -> Any:
    request.model_spec.name, request.model_spec.signature_name = "examples", signature
    if context is None:
        request.input.example_list.examples.extend(examples)
    else:
        request.input.example_list_with_context.examples.extend(examples)
        request.input.example_list_with_context.context.CopyFrom(context)
    return request


def task(signature: str, method: str, name: str = "examples") -> Any:
    made = InferenceTask(method_name=f"tensorflow/serving/{method}")
    made.model_spec.name, made.model_spec.signature_name = name, signature
    return made


# -- Predict


@pytest.mark.parametrize("kind", NUMBERS)
def test_every_type_of_number_goes_through_as_it_is(server: ModelServerProcess, kind: str) -> None:
    values = np.array([0, 1, 100], NUMBERS[kind])
    reply = server.predict_raw("kinds", {"x": tensor(values, NUMBERS[kind])}, f"echo_{kind}")
    proto = reply.outputs["y"]
    assert not proto.tensor_content
    assert array(proto).dtype == values.dtype
    assert array(proto).tolist() == values.tolist()


@pytest.mark.parametrize("kind", NUMBERS)
def test_outputs_come_as_tensor_content_where_the_flag_says_so(packing: ModelServerProcess, kind: str) -> None:
    values = np.array([0, 1, 100], NUMBERS[kind])
    proto = packing.predict_raw("kinds", {"x": tensor(values, NUMBERS[kind])}, f"echo_{kind}").outputs["y"]
    assert proto.tensor_content == values.tobytes()


def test_strings_of_any_bytes_and_length_go_through(server: ModelServerProcess) -> None:
    texts = [b"", b"\x00\xff", b"x" * 22, b"y" * 23, b"z" * 100_000]
    proto = TensorProto(dtype=7, string_val=texts)
    proto.tensor_shape.dim.add().size = len(texts)
    assert list(server.predict_raw("kinds", {"x": proto}, "echo_string").outputs["y"].string_val) == texts


def test_numbers_may_come_in_their_own_field_and_the_last_one_fills_up(server: ModelServerProcess) -> None:
    proto = TensorProto(dtype=1, float_val=[1.5, 2.5])
    proto.tensor_shape.dim.add().size = 4
    assert array(server.predict_raw("kinds", {"x": proto}, "echo_float32").outputs["y"]).tolist() == [
        1.5,
        2.5,
        2.5,
        2.5,
    ]


@pytest.mark.parametrize("shape", [(0,), (0, 3), (2, 0)])
def test_empty_tensors_keep_their_shape(server: ModelServerProcess, shape: tuple[int, ...]) -> None:
    reply = server.predict_raw("kinds", {"x": tensor(np.zeros(shape, np.float32))}, "any_rank")
    assert array(reply.outputs["y"]).shape == shape


def test_a_scalar_and_a_tensor_of_any_rank_keep_their_shape(server: ModelServerProcess) -> None:
    assert array(server.predict_raw("kinds", {"x": tensor(1.5)}, "scalar").outputs["y"]).shape == ()
    deep = np.arange(16, dtype=np.float32).reshape(1, 2, 2, 2, 2)
    assert array(server.predict_raw("kinds", {"x": tensor(deep)}, "any_rank").outputs["y"]).shape == deep.shape


@pytest.mark.parametrize(
    "proto",
    [
        TensorProto(dtype=1, tensor_content=b"12345", tensor_shape={"dim": [{"size": 1}]}),
        TensorProto(dtype=1, tensor_content=b"1234" * 3, tensor_shape={"dim": [{"size": -1}]}),
        TensorProto(dtype=0, tensor_content=b"1234"),
        TensorProto(dtype=1, tensor_content=b"1234", tensor_shape={"dim": [{"size": 2**62}, {"size": 8}]}),
        TensorProto(dtype=99, float_val=[1.0]),
    ],
)
def test_a_tensor_that_cannot_be_parsed_is_named(server: ModelServerProcess, proto: Any) -> None:
    assert refusal(lambda: server.predict_raw("kinds", {"x": proto}, "echo_float32")) == (
        "INVALID_ARGUMENT", "tensor parsing error: x")  # fmt: skip


def test_messages_of_many_megabytes_go_both_ways(server: ModelServerProcess) -> None:
    large = np.arange(5_000_000, dtype=np.float32)
    reply = server.predict_raw("kinds", {"x": tensor(large)}, "echo_float32")
    assert np.array_equal(array(reply.outputs["y"]), large)


def test_an_output_may_be_asked_for_once(server: ModelServerProcess) -> None:
    ask = lambda: server.predict_raw("kinds", {"x": tensor([1.0])}, "echo_float32", ["y", "y"])  # noqa: E731
    assert refusal(ask) == ("INVALID_ARGUMENT", "duplicate output tensor alias: y")


def test_a_signature_that_is_no_prediction_is_refused(server: ModelServerProcess) -> None:
    code, text = refusal(lambda: server.predict_raw("kinds", {}, "__saved_model_init_op"))
    assert (code, text) == (
        "INTERNAL",
        "Expected prediction signature method_name to be one of {tensorflow/serving/predict, "
        "tensorflow/serving/classify, tensorflow/serving/regress}. Was: ",
    )


def test_an_errors_text_is_cut_at_1024_bytes(server: ModelServerProcess) -> None:
    name = "n" * 3000
    _, text = refusal(lambda: server.predict_raw("kinds", {}, name))
    assert text == ('Serving signature key "' + name)[:1024] + "...TRUNCATED"


def test_a_run_ends_at_its_calls_deadline_and_the_server_serves_on(server: ModelServerProcess) -> None:
    request = PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "kinds", "spin"
    request.inputs["rounds"].CopyFrom(tensor([10**12], np.int64))
    assert refusal(lambda: server.prediction().Predict(request, timeout=1))[0] == "DEADLINE_EXCEEDED"
    assert array(server.predict_raw("kinds", {"x": tensor([2.0])}, "echo_float32").outputs["y"]).tolist() == [2.0]


# -- Classify, Regress, MultiInference


def test_classify_answers_labels_and_scores_of_each_example(server: ModelServerProcess) -> None:
    request = fill(ClassificationRequest(), example(x=0.25), example(x=1.0), signature="classify")
    reply = server.prediction().Classify(request, timeout=30)
    rows = [[(c.label, c.score) for c in row.classes] for row in reply.result.classifications]
    assert rows == [[("small", 0.25), ("large", 0.75)], [("small", 1.0), ("large", 0.0)]]
    assert (reply.model_spec.name, reply.model_spec.version.value) == ("examples", 1)
    assert reply.model_spec.signature_name == "classify"


def test_regress_merges_the_context_into_each_example(server: ModelServerProcess) -> None:
    request = fill(
        RegressionRequest(), example(x=1.0), example(x=2.0), context=example(bias=10.0),
        signature="regress",
    )  # fmt: skip
    reply = server.prediction().Regress(request, timeout=30)
    assert [item.value for item in reply.result.regressions] == [12.0, 14.0]


def test_classify_and_regress_say_what_is_wrong(server: ModelServerProcess) -> None:
    classify, regress = server.prediction().Classify, server.prediction().Regress
    request = ClassificationRequest
    assert refusal(lambda: classify(request(), timeout=30)) == ("INVALID_ARGUMENT", "Missing ModelSpec")
    assert refusal(lambda: classify(fill(request()), timeout=30)) == ("INVALID_ARGUMENT", "Input is empty.")
    assert refusal(lambda: classify(fill(request(), example(x=1.0), signature="nope"), timeout=30)) == (
        "INVALID_ARGUMENT", "No signature was found with the name: nope")  # fmt: skip
    assert refusal(lambda: classify(fill(request(), example(x=1.0), signature="regress"), timeout=30)) == (
        "INVALID_ARGUMENT",
        "Expected classification signature method_name to be tensorflow/serving/classify. "
        "Was: tensorflow/serving/regress",
    )
    wrong = fill(RegressionRequest(), example(x=1.0), signature="classify")
    assert refusal(lambda: regress(wrong, timeout=30)) == (
        "INVALID_ARGUMENT",
        "Expected regression signature method_name to be tensorflow/serving/regress. Was: tensorflow/serving/classify",
    )
    assert refusal(lambda: classify(fill(request(), example(y=1.0)), timeout=30))[0] == "INVALID_ARGUMENT"


def test_without_the_method_check_the_shape_of_a_signature_decides(packing: ModelServerProcess) -> None:
    wrong = fill(RegressionRequest(), example(x=1.0), signature="classify")
    assert refusal(lambda: packing.prediction().Regress(wrong, timeout=30)) == (
        "INVALID_ARGUMENT", "Expected one output Tensor.")  # fmt: skip
    request = fill(ClassificationRequest(), example(x=1.0), signature="regress")
    code, text = refusal(lambda: packing.prediction().Classify(request, timeout=30))
    assert code == "INVALID_ARGUMENT"
    assert text.startswith('Expected classification signature outputs to contain at least one of "classes" or "scores"')


def test_multi_inference_asks_several_signatures_of_one_input(packing: ModelServerProcess) -> None:
    request = MultiInferenceRequest(tasks=[task("classify", "classify"), task("regress", "regress")])
    request.input.example_list.examples.append(example(x=0.5))
    reply = packing.prediction().MultiInference(request, timeout=30)
    first, second = reply.results
    assert [c.score for c in first.classification_result.classifications[0].classes] == [0.5, 0.5]
    assert [item.value for item in second.regression_result.regressions] == [1.0]
    assert (first.model_spec.signature_name, second.model_spec.signature_name) == ("classify", "regress")


@pytest.mark.parametrize(
    ("tasks", "code", "text"),
    [
        ([], "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        ([task("classify", "classify"), task("regress", "regress", "")], "INVALID_ARGUMENT",
         "Found ModelSpec with an empty model name."),
        ([task("classify", "classify"), task("regress", "regress", "kinds")], "INVALID_ARGUMENT",
         "All ModelSpecs in a MultiInferenceRequest must access the same model name."),
        ([task("classify", "classify"), task("classify", "classify")], "INVALID_ARGUMENT",
         "Duplicate evaluation of signature: classify"),
        ([task("nope", "classify")], "INVALID_ARGUMENT", "Requested signature not found in model graph: nope"),
        ([task("classify", "predict")], "UNIMPLEMENTED",
         "Unsupported signature method_name: tensorflow/serving/predict"),
        ([task("classify", "classify"), task("regress", "regress")], "INVALID_ARGUMENT",
         "Input tensor must be the same for all Signatures."),
    ],
)  # fmt: skip
def test_multi_inference_says_what_is_wrong(server: ModelServerProcess, tasks: list[Any], code: str, text: str) -> None:
    request = MultiInferenceRequest(tasks=tasks)
    request.input.example_list.examples.append(example(x=0.5))
    assert refusal(lambda: server.prediction().MultiInference(request, timeout=30)) == (code, text)


# -- the rest


def test_metadata_and_status_need_a_model_spec(server: ModelServerProcess) -> None:
    from tasks.wire.protos import GetModelStatusRequest

    assert refusal(lambda: server.prediction().GetModelMetadata(GetModelMetadataRequest(), timeout=30)) == (
        "INVALID_ARGUMENT",
        "Missing ModelSpec",
    )
    assert refusal(lambda: server.service().GetModelStatus(GetModelStatusRequest(), timeout=30)) == (
        "INVALID_ARGUMENT",
        "Missing ModelSpec",
    )


@pytest.mark.parametrize(
    "method",
    ["/tensorflow.serving.SessionService/SessionRun", "/tensorflow.serving.PredictionService/PredictStreamed",
     "/grpc.health.v1.Health/Check", "/x.Y/Z"],
)  # fmt: skip
def test_what_is_not_served_is_unimplemented(server: ModelServerProcess, method: str) -> None:
    assert refusal(lambda: server.channel.unary_unary(method)(b"", timeout=30))[0] == "UNIMPLEMENTED"  # type: ignore[arg-type]


def test_a_reload_without_a_config_is_refused(server: ModelServerProcess) -> None:
    from tasks.wire.protos import ReloadConfigRequest

    assert refusal(lambda: server.service().HandleReloadConfigRequest(ReloadConfigRequest(), timeout=30)) == (
        "INVALID_ARGUMENT",
        "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently "
        "supported",
    )

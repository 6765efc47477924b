"""Classify, Regress and MultiInference, from request proto to response proto, for gRPC, REST and warm-up.

The checks and their texts are TensorFlow Serving's (classifier.cc, regressor.cc, multi_inference.cc, util.cc).
"""

from collections.abc import Sequence

import numpy as np

from infra.modelserver.errors import Code, StatusError, invalid_argument
from infra.modelserver.runtime import c_api
from infra.modelserver.runtime.servable import (
    CLASSIFY_METHOD,
    DEFAULT_SIGNATURE,
    REGRESS_METHOD,
    Servable,
    Signature,
)
from tasks.wire.dtypes import Array, DataType, data_type_of
from tasks.wire.protos import (
    ClassificationRequest,
    ClassificationResponse,
    ClassificationResult,
    InferenceTask,
    Input,
    ModelSpec,
    MultiInferenceRequest,
    MultiInferenceResponse,
    RegressionRequest,
    RegressionResponse,
    RegressionResult,
)

_INPUTS, _CLASSES, _SCORES, _OUTPUTS = "inputs", "classes", "scores", "outputs"


def classify(
    servable: Servable, request: ClassificationRequest, timeout: float | None = None
) -> ClassificationResponse:
    """Answer a ClassificationRequest; blocks. timeout is in seconds.

    Raises:
        StatusError: the signature does not exist or does not classify, the input is empty, the run failed, or its
            outputs are not of shape (examples, classes).
    """
    signature = _signature(servable, request.model_spec)
    fetches = _plan_classification(servable, signature)
    response = ClassificationResponse()
    _fill_spec(response.model_spec, request.model_spec, servable)
    examples = serialized_examples(request.input)
    outputs = _run("Classify", servable, {signature.inputs[_INPUTS].name}, examples, fetches, timeout)
    _fill_classifications(signature, len(examples), outputs, response.result)
    return response


def regress(servable: Servable, request: RegressionRequest, timeout: float | None = None) -> RegressionResponse:
    """Answer a RegressionRequest; blocks. timeout is in seconds.

    Raises:
        StatusError: the signature does not exist or does not regress, the input is empty, the run failed, or its
            output is not of shape (examples,) or (examples, 1).
    """
    signature = _signature(servable, request.model_spec)
    fetches = _plan_regression(servable, signature)
    response = RegressionResponse()
    _fill_spec(response.model_spec, request.model_spec, servable)
    examples = serialized_examples(request.input)
    outputs = _run("Regress", servable, {signature.inputs[_INPUTS].name}, examples, fetches, timeout)
    _fill_regressions(signature, len(examples), outputs, response.result)
    return response


def multi_inference(
    servable: Servable, request: MultiInferenceRequest, timeout: float | None = None
) -> MultiInferenceResponse:
    """Answer a MultiInferenceRequest in one run; blocks. timeout is in seconds.

    Raises:
        StatusError: as `classify` and `regress`, or the tasks do not go together.
    """
    feeds: set[str] = set()
    fetches: set[str] = set()
    signatures: dict[str, Signature] = {}
    for task in request.tasks:
        signature = _task_signature(servable, task, request.tasks[0].model_spec.name, signatures)
        signatures[signature.name] = signature
        plan = {CLASSIFY_METHOD: _plan_classification, REGRESS_METHOD: _plan_regression}.get(task.method_name)
        if plan is None:
            raise StatusError(Code.UNIMPLEMENTED, f"Unsupported signature method_name: {task.method_name}")
        fetches.update(plan(servable, signature))
        feeds.add(signature.inputs[_INPUTS].name)
        if len(feeds) > 1 and servable.check_method_names:
            raise invalid_argument("Input tensor must be the same for all Signatures.")
    examples = serialized_examples(request.input)
    outputs = _run("MultiInference", servable, feeds, examples, sorted(fetches), timeout)
    response = MultiInferenceResponse()
    for task, signature in zip(request.tasks, signatures.values(), strict=True):
        result = response.results.add()
        if task.method_name == CLASSIFY_METHOD:
            _fill_classifications(signature, len(examples), outputs, result.classification_result)
        else:
            _fill_regressions(signature, len(examples), outputs, result.regression_result)
        _fill_spec(result.model_spec, task.model_spec, servable)
    return response


def serialized_examples(proto: Input) -> list[bytes]:
    """The tf.Examples of an Input, serialized, each with the context merged in.

    Raises:
        StatusError: INVALID_ARGUMENT; there are none.
    """
    kind = proto.WhichOneof("kind")
    if kind == "example_list":
        examples = [example.SerializeToString() for example in proto.example_list.examples]
    elif kind == "example_list_with_context":
        # Concatenating serialized messages merges them.
        context = proto.example_list_with_context.context.SerializeToString()
        examples = [context + e.SerializeToString() for e in proto.example_list_with_context.examples]
    else:
        examples = []
    if not examples:
        raise invalid_argument("Input is empty.")
    return examples


def _signature(servable: Servable, spec: ModelSpec) -> Signature:
    name = spec.signature_name or DEFAULT_SIGNATURE
    signature = servable.signatures.get(name)
    if signature is None:
        raise invalid_argument(f"No signature was found with the name: {name}")
    return signature


def _task_signature(servable: Servable, task: InferenceTask, model: str, seen: dict[str, Signature]) -> Signature:
    if not task.model_spec.name:
        raise invalid_argument("Found ModelSpec with an empty model name.")
    if task.model_spec.name != model:
        raise invalid_argument("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
    name = task.model_spec.signature_name or DEFAULT_SIGNATURE
    if name in seen:
        raise invalid_argument(f"Duplicate evaluation of signature: {name}")
    if name not in servable.signatures:
        raise invalid_argument(f"Requested signature not found in model graph: {name}")
    return servable.signatures[name]


def _plan_classification(servable: Servable, signature: Signature) -> list[str]:
    if servable.check_method_names and signature.method_name != CLASSIFY_METHOD:
        raise invalid_argument(
            f"Expected classification signature method_name to be {CLASSIFY_METHOD}. Was: {signature.method_name}"
        )
    if len(signature.inputs) != 1:
        raise invalid_argument("Expected one input Tensor.")
    if len(signature.outputs) not in (1, 2):
        raise invalid_argument(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    if _INPUTS not in signature.inputs:
        raise invalid_argument(
            "No classification inputs found in SignatureDef: "
            f"{servable.signature_map_proto.signature_def[signature.name]}"
        )
    names = [signature.outputs[alias].name for alias in (_CLASSES, _SCORES) if alias in signature.outputs]
    if not names:
        raise invalid_argument(
            'Expected classification signature outputs to contain at least one of "classes" or "scores". '
            f"Signature was: {servable.signature_map_proto.signature_def[signature.name]}"
        )
    return names


def _plan_regression(servable: Servable, signature: Signature) -> list[str]:
    if servable.check_method_names and signature.method_name != REGRESS_METHOD:
        raise invalid_argument(
            f"Expected regression signature method_name to be {REGRESS_METHOD}. Was: {signature.method_name}"
        )
    if len(signature.inputs) != 1:
        raise invalid_argument("Expected one input Tensor.")
    if len(signature.outputs) != 1:
        raise invalid_argument("Expected one output Tensor.")
    for alias, what, every in ((_INPUTS, "inputs", signature.inputs), (_OUTPUTS, "outputs", signature.outputs)):
        if alias not in every:
            raise invalid_argument(
                f"No regression {what} found in SignatureDef: "
                f"{servable.signature_map_proto.signature_def[signature.name]}"
            )
    return [signature.outputs[_OUTPUTS].name]


def _run(
    api: str, servable: Servable, feeds: set[str], examples: list[bytes], fetches: Sequence[str], timeout: float | None
) -> dict[str, Array]:
    """Feed the serialized examples, and fetch tensors: by their names in the graph, shape (examples, …)."""
    with c_api.kept_tensors() as kept:
        tensor = c_api.tensor_from_strings(examples, [len(examples)])
        kept.append(tensor)
        results = servable.run(api, tuple(sorted(feeds)), [tensor] * len(feeds), tuple(fetches), timeout)
        kept.extend(results)
        servable.metrics.record_examples(servable.name, len(examples))
        return {name: c_api.array_from_tensor(result) for name, result in zip(fetches, results, strict=True)}


def _fill_spec(spec: ModelSpec, asked: ModelSpec, servable: Servable) -> None:
    spec.name = asked.name
    spec.signature_name = asked.signature_name or DEFAULT_SIGNATURE
    spec.version.value = servable.version


def _check_matrix(array: Array, examples: int, data_type: DataType, what: str) -> None:
    if array.ndim != 2:
        raise invalid_argument(f"Expected Tensor shape: [batch_size num_classes] but got {_shape_text(array)}")
    if array.dtype != data_type.numpy:
        raise invalid_argument(f"Expected {what} Tensor of DT_{data_type.name}. Got: {_type_name(array)}")
    if array.shape[0] != examples:
        raise invalid_argument(f"Expected {what} output batch size of {examples}. Got: {array.shape[0]}")


def _fill_classifications(
    signature: Signature, examples: int, outputs: dict[str, Array], result: ClassificationResult
) -> None:
    classes = outputs[signature.outputs[_CLASSES].name] if _CLASSES in signature.outputs else None
    scores = outputs[signature.outputs[_SCORES].name] if _SCORES in signature.outputs else None
    if classes is not None:
        _check_matrix(classes, examples, DataType.STRING, "classes")
    if scores is not None:
        _check_matrix(scores, examples, DataType.FLOAT, "scores")
    if classes is not None and scores is not None and classes.shape[1] != scores.shape[1]:
        raise invalid_argument(
            f"Tensors class and score should match in dim_size(1). Got {classes.shape[1]} vs. {scores.shape[1]}"
        )
    known = classes if classes is not None else scores
    width = known.shape[1] if known is not None else 0
    labels = classes.tolist() if classes is not None else None
    values = scores.tolist() if scores is not None else None
    for row in range(examples):
        classifications = result.classifications.add()
        for column in range(width):
            item = classifications.classes.add()
            if labels is not None:
                item.label = labels[row][column]
            if values is not None:
                item.score = values[row][column]


def _fill_regressions(signature: Signature, examples: int, outputs: dict[str, Array], result: RegressionResult) -> None:
    array = outputs[signature.outputs[_OUTPUTS].name]
    if not (array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1)):
        raise invalid_argument(
            f"Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got {_shape_text(array)}"
        )
    if array.shape[0] != examples:
        raise invalid_argument(f"Input batch size did not match output batch size: {examples} vs. {array.shape[0]}")
    if array.dtype != np.float32:
        raise invalid_argument(f"Expected output Tensor of DT_FLOAT.  Got: {_type_name(array)}")
    for value in array.ravel().tolist():
        result.regressions.add().value = value


def _shape_text(array: Array) -> str:
    return "[" + ",".join(map(str, array.shape)) + "]"


def _type_name(array: Array) -> str:
    return f"DT_{data_type_of(array.dtype).name}"

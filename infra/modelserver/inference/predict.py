"""Answering a PredictRequest (predict_util.cc)."""

from collections.abc import Mapping, Sequence

from infra.modelserver.errors import StatusError, failed_precondition, invalid_argument
from infra.modelserver.lifecycle.manager import Manager
from infra.modelserver.runtime import c_api, tensors
from infra.modelserver.runtime.servable import DEFAULT_SIGNATURE, Servable, Signature
from tasks.wire.protos import ModelSpec, PredictRequest, PredictResponse, TensorProto


def version_choice(model_spec: ModelSpec) -> tuple[str, int | None, str | None]:
    """A ModelSpec's name, version and label, as Manager.acquire takes them."""
    choice = model_spec.WhichOneof("version_choice")
    version = model_spec.version.value if choice == "version" else None
    return model_spec.name, version, model_spec.version_label if choice == "version_label" else None


def predict(
    manager: Manager, request: PredictRequest, timeout: float | None = None, *, as_content: bool = False
) -> PredictResponse:
    """Answer a PredictRequest; blocks.

    Args:
        timeout: in seconds; None for no limit.
        as_content: pack the outputs into tensor_content.

    Raises:
        StatusError: as `Manager.acquire` and `predict_with`.
    """
    if not request.HasField("model_spec"):
        raise invalid_argument("Missing ModelSpec")
    with manager.acquire(*version_choice(request.model_spec)) as servable:
        return predict_with(servable, request, timeout, as_content=as_content)


def predict_with(
    servable: Servable, request: PredictRequest, timeout: float | None = None, *, as_content: bool = False
) -> PredictResponse:
    """Answer a PredictRequest from one servable.

    Raises:
        StatusError: FAILED_PRECONDITION if there is no such signature, INVALID_ARGUMENT if a tensor cannot be parsed,
            or as `Servable.check_inputs`, `check_outputs` and `run_tensors`.
    """
    name = request.model_spec.signature_name or DEFAULT_SIGNATURE
    signature = servable.signatures.get(name)
    if signature is None:
        raise failed_precondition(f'Serving signature key "{name}" not found.')
    response = PredictResponse()
    response.model_spec.name = request.model_spec.name
    response.model_spec.signature_name = name
    response.model_spec.version.value = servable.version
    feeds: list[int] = []
    results: list[int] = []
    try:
        _parse_inputs(servable, signature, request.inputs, feeds)
        aliases = servable.check_outputs(signature, request.output_filter)
        results = servable.run_tensors(
            "Predict",
            servable.feed_names(signature),
            feeds,
            tuple([signature.outputs[alias].name for alias in aliases]),
            timeout,
        )
        for alias, tensor in zip(aliases, results, strict=True):
            tensors.to_proto(tensor, response.outputs[alias], as_content=as_content)
        return response
    finally:
        _delete(feeds)
        _delete(results)


def _parse_inputs(
    servable: Servable, signature: Signature, inputs: Mapping[str, TensorProto], feeds: list[int]
) -> None:
    servable.check_inputs(signature, inputs)
    for alias in signature.inputs:
        try:
            feeds.append(
                tensors.from_proto(inputs[alias])
                if alias in inputs
                else c_api.tensor_from_proto(signature.defaults[alias])
            )
        except StatusError as error:
            raise invalid_argument(f"tensor parsing error: {alias}") from error


def _delete(every: Sequence[int]) -> None:
    for tensor in every:
        c_api.delete(tensor)

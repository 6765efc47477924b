"""Predict: from a signature's inputs to its outputs (predict_util.cc), the one path that REST, gRPC and warm-up take.

Who asks brings the form: what makes a tensor of each input, and what reads the outputs.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

from infra.modelserver.errors import Code, StatusError, failed_precondition, invalid_argument
from infra.modelserver.runtime import c_api, tensors
from infra.modelserver.runtime.servable import DEFAULT_SIGNATURE, METHODS, Servable, Signature
from tasks.wire.protos import PredictRequest, PredictResponse


@contextmanager
def predict(
    servable: Servable,
    signature: Signature,
    feeds: Mapping[str, Callable[[], int]],
    outputs: Sequence[str] = (),
    timeout: float | None = None,
) -> Iterator[dict[str, int]]:
    """Run a signature, blocking; within the context there are its output tensors, by alias.

    Args:
        feeds: by alias, what makes the input's tensor; it is called once all aliases have been found right.
        outputs: the aliases of those wanted; none for all.
        timeout: in seconds; None for no limit.

    Raises:
        StatusError: INTERNAL if the signature is not for predictions; INVALID_ARGUMENT for aliases that do not fit it,
            or a feed that makes no tensor; or as `Servable.run`.
    """
    _check_inputs(servable, signature, feeds.keys())
    with c_api.kept_tensors() as kept:
        for alias in signature.inputs:
            make = feeds.get(alias) or partial(c_api.tensor_from_proto, signature.defaults[alias])
            try:
                kept.append(make())
            except StatusError as error:
                raise invalid_argument(f"tensor parsing error: {alias}") from error
        aliases = _check_outputs(signature, outputs)
        names = tuple([info.name for info in signature.inputs.values()])
        fetches = tuple([signature.outputs[alias].name for alias in aliases])
        results = servable.run("Predict", names, tuple(kept), fetches, timeout)
        kept.extend(results)
        yield dict(zip(aliases, results, strict=True))


def predict_message(
    servable: Servable, request: PredictRequest, timeout: float | None = None, *, as_content: bool = False
) -> PredictResponse:
    """Answer a PredictRequest; blocks. as_content packs the outputs into tensor_content.

    Raises:
        StatusError: FAILED_PRECONDITION if there is no such signature, or as `predict`.
    """
    name = request.model_spec.signature_name or DEFAULT_SIGNATURE
    signature = servable.signatures.get(name)
    if signature is None:
        raise failed_precondition(f'Serving signature key "{name}" not found.')
    response = PredictResponse()
    response.model_spec.name = request.model_spec.name
    response.model_spec.signature_name = name
    response.model_spec.version.value = servable.version
    feeds = {alias: partial(tensors.from_proto, proto) for alias, proto in request.inputs.items()}
    with predict(servable, signature, feeds, request.output_filter, timeout) as outputs:
        for alias, tensor in outputs.items():
            tensors.to_proto(tensor, response.outputs[alias], as_content=as_content)
    return response


def _check_inputs(servable: Servable, signature: Signature, sent: Collection[str]) -> None:
    if servable.check_method_names and signature.method_name not in METHODS:
        raise StatusError(
            Code.INTERNAL,
            f"Expected prediction signature method_name to be one of {{{', '.join(METHODS)}}}. "
            f"Was: {signature.method_name}",
        )
    wanted, defaults = signature.inputs, signature.defaults
    if sent == wanted.keys():
        return
    if len(sent) > len(wanted) or (len(sent) < len(wanted) and not defaults):
        raise invalid_argument(
            f"input size does not match signature: {len(sent)}!={len(wanted)} len({_braced(sent)}) != "
            f"len({_braced(wanted)}). Sent extra: {_braced(set(sent) - wanted.keys())}. "
            f"Missing but required: {_braced(wanted.keys() - set(sent))}."
        )
    for alias, info in wanted.items():
        if alias not in sent and alias not in defaults:
            raise invalid_argument(
                f"Signature input alias: {alias}(feed name: {info.name}) not found in request and no default value "
                f"provided. Inputs expected to be in the request {_braced(sent)}, or default input alias set: "
                f"{','.join(sorted(defaults))}"
            )
    used = wanted.keys() & set(sent)
    if len(used) != len(sent):
        raise invalid_argument(
            f"Inputs contains invalid name. Used request inputs: {','.join(sorted(used))}, "
            f"request input: {','.join(sorted(sent))}"
        )


def _check_outputs(signature: Signature, wanted: Sequence[str]) -> Sequence[str]:
    """The aliases of the outputs to answer with."""
    seen: set[str] = set()
    for alias in wanted:
        if alias not in signature.outputs:
            raise invalid_argument(
                f"output tensor alias not found in signature: {alias} Outputs expected to be in the set "
                f"{_braced(signature.outputs)}."
            )
        if alias in seen:
            raise invalid_argument(f"duplicate output tensor alias: {alias}")
        seen.add(alias)
    return tuple(wanted or signature.outputs)


def _braced(names: Iterable[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"

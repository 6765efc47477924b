"""From a classify or regress request's JSON to tf.Examples, by TensorFlow Serving's rules (json_tensor.cc)."""

from typing import Final

from infra.modelserver.errors import StatusError, invalid_argument
from infra.modelserver.rest.base64 import decode_object, is_base64
from infra.modelserver.rest.json_text import Json, members, quote, to_bytes, valid_text
from infra.modelserver.rest.parser import Document
from infra.modelserver.rest.tensors import json_type
from tasks.wire.protos import ClassificationRequest, Example, Feature, RegressionRequest

_KINDS: Final = {str: "bytes_list", float: "float_list", int: "int64_list", bool: "int64_list"}


def fill_request(body: bytes, request: ClassificationRequest | RegressionRequest, timeout: float | None = None) -> None:
    """Fill in a request's signature and examples.

    Args:
        timeout: of reading the JSON, seconds.

    Raises:
        StatusError: INVALID_ARGUMENT; the body is not JSON, or does not hold examples. DEADLINE_EXCEEDED.
    """
    asked = Document(body, timeout)
    request.model_spec.signature_name = valid_text(asked.signature_name())
    document = asked.members()
    target = request.input.example_list
    if "context" in document:
        target = request.input.example_list_with_context
        _fill_example(document["context"], target.context)
    if "examples" not in document:
        raise _format_error(document, "When method is classify, key 'examples' is expected and was not found")
    examples = document["examples"]
    if not isinstance(examples, list):
        raise _format_error(document, "Expecting 'examples' value to be an list/array")
    if not examples:
        raise _format_error(document, "'examples' value is an empty array")
    for example in examples:
        _fill_example(example, target.examples.add())


def _format_error(document: Json, text: str) -> StatusError:
    return invalid_argument(f"JSON Value: {quote(document)} {text}")


def _fill_example(value: Json, example: Example) -> None:
    if not isinstance(value, dict):
        raise invalid_argument(f"Example must be JSON object but got JSON {json_type(value)}")
    for key, content in members(value):
        name = valid_text(key.partition("\0")[0])  # names are C strings there
        example.features.feature.pop(name, None)
        feature = example.features.feature[name]
        items = content if isinstance(content, list) else [content]
        if set(map(type, items)) == {float}:
            feature.float_list.value.extend(items)
        else:
            for item in items:
                _add_element(feature, item, name)


def _add_element(feature: Feature, item: Json, name: str) -> None:
    """Add one element to the list of its kind, which must be the only one (AddValueToFeature)."""
    kind = _KINDS.get(type(item)) or ("bytes_list" if is_base64(item) else None)
    if kind is None:
        raise invalid_argument(f"Feature: {name} has element with unexpected JSON type: {json_type(item)}")
    present = feature.WhichOneof("kind")
    if present not in (None, kind):
        raise invalid_argument(f"Unexpected element type in feature: {name} expecting type: {present[:-5]}")
    if kind == "bytes_list":
        item = to_bytes(item) if isinstance(item, str) else decode_object(item)
    elif kind == "int64_list":
        item = int(item)
        if item >= 2**63:
            raise invalid_argument(f"Feature: {name} has uint64_t element. Only int64_t is supported.")
    getattr(feature, kind).value.append(item)

"""A classify or regress request's JSON into tf.Examples."""

from typing import Any

import pytest

from infra.modelserver.errors import StatusError
from infra.modelserver.rest.examples import fill_request
from tasks.wire.protos import ClassificationRequest


def filled(body: str) -> Any:
    request = ClassificationRequest()
    fill_request(body.encode(), request)
    return request


def features(example: Any) -> dict[str, list[Any]]:
    return {
        name: list(getattr(feature, feature.WhichOneof("kind")).value) if feature.WhichOneof("kind") else []
        for name, feature in example.features.feature.items()
    }


def test_each_feature_has_the_kind_of_its_values() -> None:
    request = filled(
        '{"signature_name": "s", "examples": [{"n": 1, "f": [1.5, 2.0], "s": ["a", {"b64": "/w=="}], "b": [true, 3],'
        ' "e": []}]}'
    )
    assert request.model_spec.signature_name == "s"
    (example,) = request.input.example_list.examples
    assert features(example) == {"n": [1], "f": [1.5, 2.0], "s": [b"a", b"\xff"], "b": [1, 3], "e": []}


def test_a_context_stands_beside_the_examples() -> None:
    request = filled('{"context": {"c": 7}, "examples": [{"a": 1.0}, {}]}')
    listed = request.input.example_list_with_context
    assert features(listed.context) == {"c": [7]}
    assert [features(example) for example in listed.examples] == [{"a": [1.0]}, {}]


def test_the_last_of_repeated_features_counts() -> None:
    assert features(filled('{"examples": [{"a": 1, "a": 2.5}]}').input.example_list.examples[0]) == {"a": [2.5]}


def test_floats_beyond_float32_become_infinite() -> None:
    values = features(filled('{"examples": [{"a": [1e300], "b": [NaN, -1e300]}]}').input.example_list.examples[0])
    assert values["a"] == [float("inf")]
    assert values["b"][1] == float("-inf")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("{}", "JSON Value: {} When method is classify, key 'examples' is expected and was not found"),
        ('{"examples": 1}', "JSON Value: {\n    \"examples\": 1\n} Expecting 'examples' value to be an list/array"),
        ('{"examples": []}', "JSON Value: {\n    \"examples\": []\n} 'examples' value is an empty array"),
        ('{"examples": [1]}', "Example must be JSON object but got JSON Number"),
        ('{"examples": [{"a": null}]}', "Feature: a has element with unexpected JSON type: Null"),
        ('{"examples": [{"a": [[1]]}]}', "Feature: a has element with unexpected JSON type: Array"),
        ('{"examples": [{"a": {"c": 1}}]}', "Feature: a has element with unexpected JSON type: Object"),
        ('{"examples": [{"a": [1, 1.5]}]}', "Unexpected element type in feature: a expecting type: int64"),
        ('{"examples": [{"a": [1.5, 1]}]}', "Unexpected element type in feature: a expecting type: float"),
        ('{"examples": [{"a": ["x", true]}]}', "Unexpected element type in feature: a expecting type: bytes"),
        (
            '{"examples": [{"a": 9223372036854775808}]}',
            "Feature: a has uint64_t element. Only int64_t is supported.",
        ),
        ('{"examples": [{"a": {"b64": "!"}}]}', "Unable to base64 decode"),
        (
            '{"signature_name": 1.5, "examples": []}',
            'JSON Value: {\n    "signature_name": 1.5,\n    "examples": []\n} not formatted correctly.'
            " 'signature_name' key must be a string value.",
        ),
        ('{"context": 1, "examples": [{}]}', "Example must be JSON object but got JSON Number"),
    ],
)
def test_what_is_wrong_is_told_in_tensorflow_servings_words(body: str, text: str) -> None:
    with pytest.raises(StatusError) as raised:
        filled(body)
    assert raised.value.message == text


def test_names_that_are_no_utf8_are_no_accident() -> None:
    request = ClassificationRequest()
    fill_request(b'{"signature_name": "\xff", "examples": [{"\xff": 1}]}', request)
    assert request.model_spec.signature_name == "\ufffd"

"""Base64 as absl decodes it."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.modelserver.rest.base64 import unescape


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (b"", b""),
        (b"aGVsbG8=", b"hello"),
        (b"aGVsbG8", b"hello"),
        (b"aGVsbG8.", b"hello"),
        (b" aGVs\nbG8\t= ", b"hello"),
        (b"/+8=", b"\xff\xef"),
        (b"/x==", b"\xff"),  # bits beyond the last byte do not matter
    ],
)
def test_what_absl_decodes_is_decoded(text: bytes, content: bytes) -> None:
    assert unescape(text) == content


@pytest.mark.parametrize("text", [b"a", b"!!!!", b"aGVsbG8==", b"aGVs=", b"aG=Vs", b"-_-_", b"===", b"AA="])
def test_what_absl_refuses_is_refused(text: bytes) -> None:
    assert unescape(text) is None


@given(st.binary())
def test_every_encoding_is_decoded_with_and_without_padding(content: bytes) -> None:
    encoded = base64.b64encode(content)
    assert unescape(encoded) == unescape(encoded.rstrip(b"=")) == content

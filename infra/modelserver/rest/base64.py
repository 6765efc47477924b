"""Base64 as TensorFlow Serving reads it in JSON (json_tensor.cc; absl's Base64Unescape)."""

import binascii
import string
from typing import Final

from infra.modelserver.errors import invalid_argument
from infra.modelserver.rest.json_text import Json, members, quote, to_bytes

_SPACE: Final = b" \t\n\v\f\r"
_ALPHABET: Final = (string.ascii_letters + string.digits + "+/").encode()


def is_base64(value: Json) -> bool:
    """Whether a value is an object of the one key `b64` with a string."""
    return isinstance(value, dict) and [(key, type(item)) for key, item in members(value)] == [("b64", str)]


def decode_object(value: dict[str, Json]) -> bytes:
    """The bytes of a `{"b64": "…"}` object.

    Raises:
        StatusError: INVALID_ARGUMENT; it is not one, or not base64.
    """
    if not is_base64(value):
        raise invalid_argument(f"JSON Value: {quote(value)} not formatted correctly for base64 data")
    decoded = unescape(to_bytes(value["b64"]))
    if decoded is None:
        raise invalid_argument("Unable to base64 decode")
    return decoded


def unescape(text: bytes) -> bytes | None:
    """The decoded bytes, or None if it is not base64. White space is ignored; padding may be missing, or be dots."""
    compact = text.translate(None, _SPACE)
    data = compact.rstrip(b"=.")
    missing = -len(data) % 4
    if data.translate(None, _ALPHABET) or missing == 3 or len(compact) - len(data) not in (0, missing):
        return None
    return binascii.a2b_base64(data + b"=" * missing)

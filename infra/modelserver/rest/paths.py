"""What a method and path ask for, as TensorFlow Serving's regular expressions have it (http_rest_api_util.cc)."""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

from infra.modelserver.errors import Code, StatusError, invalid_argument

PREDICT, CLASSIFY, REGRESS = "predict", "classify", "regress"
STATUS, METADATA = "status", "metadata"

_FLAGS: Final = re.IGNORECASE | re.ASCII
_PREFIX = re.compile(r"/v1/.*", _FLAGS)
_VERSION = r"(?:(?:/versions/([0-9]+))|(?:/labels/([^/:]+)))?"
_PREDICTION = re.compile(rf"/v1/models/([^/:]+){_VERSION}:(classify|regress|predict)", _FLAGS)
_STATUS = re.compile(rf"/v1/models(?:/([^/:]+))?{_VERSION}(?:/(metadata))?", _FLAGS)
# What libevent's evhttp_uri_parse takes for a path and a query; anything else is a bad request to it.
_PLAIN = r"A-Za-z0-9\-._~!$&'()*+,;=:@/"
_URI = re.compile(rf"(?:[{_PLAIN}]|%[0-9A-Fa-f]{{2}})*(?:\?(?:[{_PLAIN}?]|%[0-9A-Fa-f]{{2}})*)?")


class BadVersion(StatusError):
    """A version number beyond int64, which TensorFlow Serving answers with an empty body."""


@dataclass(frozen=True, slots=True)
class Route:
    """What a request asks for, and of which model; version wins over label, and neither means the latest."""

    verb: str
    name: str
    version: int | None
    label: str | None


def is_valid_uri(uri: str) -> bool:
    """Whether a path with its query is a URI by RFC 3986."""
    return _URI.fullmatch(uri) is not None


def is_ours(uri: str) -> bool:
    """Whether a path with its query lies under /v1/."""
    return _PREFIX.fullmatch(uri) is not None


def route(method: str, uri: str) -> Route:
    """The route of a path with its query, as they were sent.

    Raises:
        StatusError: INVALID_ARGUMENT; no such method and path are served.
    """
    pattern = {"POST": _PREDICTION, "GET": _STATUS}.get(method)
    match = pattern.fullmatch(uri) if pattern else None
    if match is None:
        raise _malformed(method, uri)
    name, version, label, word = match.groups()
    number = None if version is None else _number(version)
    if method == "GET":
        verb = METADATA if word == METADATA else STATUS
    elif word in (PREDICT, CLASSIFY, REGRESS):
        verb = word
    else:  # the path may be in capitals, but not this word
        raise _malformed(method, uri)
    return Route(verb, _decoded(name or ""), number, None if label is None else _decoded(label))


def _malformed(method: str, uri: str) -> StatusError:
    return invalid_argument(f"Malformed request: {method} {uri}")


def _number(version: str) -> int:
    digits = version.lstrip("0") or "0"
    if len(digits) > 19 or int(digits) >= 2**63:
        raise BadVersion(Code.INVALID_ARGUMENT, f"Failed to convert version: {version} to numeric.")
    return int(digits)


def _decoded(text: str) -> str:
    return unquote_to_bytes(text).decode("utf-8", "surrogateescape")

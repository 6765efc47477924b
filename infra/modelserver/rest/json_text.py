"""JSON values, and how TensorFlow Serving quotes them in texts.

Strings are `str`; bytes that are not UTF-8 are kept as surrogate escapes, so that `to_bytes` gives the client's bytes.
"""

import json
import math
from collections.abc import Iterable, Iterator
from typing import Any, Final, TypeAlias

from infra.modelserver.rest.decimals import FLOAT_LIMIT, decimal, quoted, to_single

Json: TypeAlias = Any  # None, bool, int, float, str, list, or dict (RepeatedKeys if a key comes twice)

_INDENT: Final = "    "
_ESCAPED: Final = {code: f"\\u{code:04X}" for code in range(0x20)} | {
    ord(char): json.dumps(char)[1:-1] for char in '\b\t\n\f\r"\\'
}


class RepeatedKeys(dict[str, Json]):
    """An object in which a key comes more than once: as a mapping it has the first; `pairs` has all of them."""

    def __init__(self, pairs: list[tuple[str, Json]]) -> None:
        super().__init__(reversed(pairs))
        self.pairs = pairs


def members(obj: dict[str, Json]) -> Iterable[tuple[str, Json]]:
    """Every member of an object in the client's order, repeated keys included."""
    return obj.pairs if isinstance(obj, RepeatedKeys) else obj.items()


def to_bytes(text: str) -> bytes:
    """The bytes that the client sent for a JSON string."""
    return text.encode("utf-8", "surrogateescape")


def valid_text(text: str) -> str:
    """The text for a message's string field: what is not UTF-8 becomes U+FFFD."""
    return text if text.isascii() else to_bytes(text).decode("utf-8", "replace")


def string(text: str) -> str:
    """A JSON string with its quotation marks, escaped as RapidJSON's Writer escapes."""
    return f'"{text.translate(_ESCAPED)}"'


def quote(value: Json) -> str:
    """A JSON value as errors quote it (json_tensor.cc, JsonValueToString): pretty, arrays on one line.

    The text breaks off before a NaN or Infinity inside an array or object, as RapidJSON's writer does.
    """
    if isinstance(value, float):
        single = abs(value) <= FLOAT_LIMIT
        return decimal(to_single(value) if single else value, single=single)
    return "".join(_pretty(value))


class _Open:
    """An array or object that is being written."""

    def __init__(self, value: Json) -> None:
        self.is_array = isinstance(value, list)
        self.items: Iterator[tuple[str, Json]] = (
            iter([("", item) for item in value]) if self.is_array else iter(members(value))
        )
        self.first = True

    def separator(self, key: str, depth: int) -> str:
        first, self.first = self.first, False
        if self.is_array:
            return "" if first else ", "
        return ("\n" if first else ",\n") + _INDENT * depth + string(key) + ": "


def _pretty(value: Json) -> Iterator[str]:
    opened: list[_Open] = []
    while True:
        if isinstance(value, list | dict) and value:
            opened.append(_Open(value))
            yield "[" if opened[-1].is_array else "{"
        elif isinstance(value, float) and not math.isfinite(value):
            return
        else:
            yield _scalar(value)
        while opened:
            item = next(opened[-1].items, None)
            if item is not None:
                break
            yield "]" if opened.pop().is_array else "\n" + _INDENT * len(opened) + "}"
        else:
            return
        key, value = item
        yield opened[-1].separator(key, len(opened))


def _scalar(value: Json) -> str:
    if isinstance(value, str):
        return string(value)
    if isinstance(value, float):
        return quoted(value)
    if isinstance(value, list | dict):
        return "[]" if isinstance(value, list) else "{}"
    return "null" if value is None else "true" if value is True else "false" if value is False else str(value)

"""JSON values, how TensorFlow Serving quotes them in texts, and how it prints numbers.

Strings are `str`; bytes that are not UTF-8 are kept as surrogate escapes, so that `to_bytes` gives the client's bytes.
"""

import json
import math
import struct
from collections.abc import Iterable, Iterator
from typing import Any, Final, TypeAlias

Json: TypeAlias = Any  # None, bool, int, float, str, list, or dict (RepeatedKeys if a key comes twice)

_FLOAT_LIMIT: Final = 3.4028234e38  # RapidJSON's Value::IsFloat
LONGEST_QUOTE: Final = 1 << 16
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


def decimal(value: float, *, single: bool) -> str:
    """A reply's number: six digits if they are the number, else 9 (float32) or 17 (float64) of them.

    Whole numbers get `.0`; NaN and Infinity are bare words (json_tensor.cc, WriteDecimal).
    """
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    text = f"{value:.6g}"
    back = float(text)
    if (abs(back) > _FLOAT_LIMIT or _to_single(back) != value) if single else back != value:
        text = f"{value:.9g}" if single else f"{value:.17g}"
    return text if "." in text or "e" in text else f"{text}.0"


def _to_single(value: float) -> float:
    """The float32 nearest to a value within its range."""
    single: float = struct.unpack("f", struct.pack("f", value))[0]
    return single


def quote(value: Json) -> str:
    """A JSON value as errors quote it (json_tensor.cc, JsonValueToString): pretty, arrays on one line.

    The text breaks off before a NaN or Infinity inside an array or object, as RapidJSON's writer does. Fractions inside
    one are written as Python writes them, which differs from RapidJSON for very small and large ones. A text is cut
    short at `LONGEST_QUOTE` characters.
    """
    if isinstance(value, float):
        single = abs(value) <= _FLOAT_LIMIT
        return decimal(_to_single(value) if single else value, single=single)
    found, length = list[str](), 0
    for piece in _pretty(value):
        found.append(piece[: LONGEST_QUOTE - length])
        length += len(found[-1])
        if length == LONGEST_QUOTE:
            found.append("...")
            break
    return "".join(found)


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
        return string(value[:LONGEST_QUOTE])
    return json.dumps(value)

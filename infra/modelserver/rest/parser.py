"""Reading a request's JSON as TensorFlow Serving reads it.

TensorFlow Serving parses with RapidJSON 1.1.0 (kParseNanAndInfFlag), whose dialect is a little wider than JSON: bare
NaN and Infinity, a byte order mark, anything after the document, invalid UTF-8 inside strings, repeated keys. Texts and
offsets of parse errors are RapidJSON's (reader.h, error/en.h).
"""

import math
import re
import time
from itertools import chain
from typing import Final

import orjson
import simdjson

from infra.modelserver.errors import Code, StatusError, invalid_argument
from infra.modelserver.rest.json_text import Json, RepeatedKeys, quote

_LONG_RUN: Final = 64  # bytes of plain numbers from which on they are parsed in one step
_LONGEST_RUN: Final = 1 << 20  # and at most so many at once, so that other threads may run
_LONGEST_INT: Final = 20  # characters of a whole number of 64 bits
# What has more than these is not made into Python's objects in one go, which would block all other threads meanwhile.
_LARGE_BODY: Final = 16 << 20  # bytes
_MANY_VALUES: Final = 500_000
_MANY_CONTAINERS: Final = 100_000
MOST_CONTAINERS: Final = 250_000  # arrays and objects of a body that is read value by value: 25 MB as objects
_STEPS: Final = 1024  # between two looks at the clock: some milliseconds
_PAUSE: Final = 0.0002  # seconds; without it, each step of another thread would wait for the interpreter's switch, 5 ms

_SPACE = re.compile(rb"[ \n\r\t]*")
_STRING_STOP = re.compile(rb'[\x00-\x1f"\\]')
_HEX4 = re.compile(rb"[0-9A-Fa-f]{4}")
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)(\.[0-9]*)?([eE][+-]?[0-9]*)?")
_NUMBERS = re.compile(rb"(?:-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?[ \n\r\t]*+,[ \n\r\t]*+)++")
_ESCAPES: Final = dict(zip(b'"/\\bfnrt', (b'"', b"/", b"\\", b"\b", b"\f", b"\n", b"\r", b"\t"), strict=True))
_LITERALS: Final = {ord("n"): (b"null", None), ord("t"): (b"true", True), ord("f"): (b"false", False)}

_OPEN_ARRAY, _CLOSE_ARRAY, _OPEN_OBJECT, _CLOSE_OBJECT, _COMMA, _COLON, _QUOTE, _BACKSLASH = b'[]{},:"\\'


class Document:
    """A request's body, which must be one JSON object.

    It is parsed by simdjson, and once more, by a reader of our own, if RapidJSON reads or may read something else.

    Attributes:
        strict: what simdjson has parsed; None if to simdjson it is not an object.
    """

    def __init__(self, body: bytes, timeout: float | None = None) -> None:
        """Parse a body, within so many seconds.

        Raises:
            StatusError: INVALID_ARGUMENT; it is not a JSON object, or has too many arrays and objects.
                DEADLINE_EXCEEDED; it took too long.
        """
        self.body, self.strict = body, _parse_strictly(body)
        self._end = math.inf if timeout is None else time.monotonic() + timeout
        self._members = _read(body, self._end) if self.strict is None else None

    def members(self) -> dict[str, Json]:
        """The object, as Python's own types. Once they are made, `strict` is None."""
        if self._members is None:
            self._members = None if self.strict is None else _as_python(self.body, self.strict)
            self.strict = None  # which frees its memory
        if self._members is None:
            self._members = _read(self.body, self._end)
        return self._members

    def signature_name(self) -> str:
        """The signature that a request names; "" if it names none.

        Raises:
            StatusError: INVALID_ARGUMENT; the name is not a string.
        """
        every: simdjson.Object | dict[str, Json] = self.members() if self.strict is None else self.strict
        name = every.get("signature_name", "")
        if not isinstance(name, str):
            raise invalid_argument(
                f"JSON Value: {quote(self.members())} not formatted correctly. 'signature_name' key must be a string "
                "value."
            )
        return name


def _parse_strictly(body: bytes) -> simdjson.Object | None:
    try:
        parsed = simdjson.Parser().parse(body)
    except (ValueError, RuntimeError, MemoryError):
        return None
    return parsed if isinstance(parsed, simdjson.Object) else None


def _as_python(body: bytes, parsed: simdjson.Object) -> dict[str, Json] | None:
    """What simdjson has parsed; None if that is too large, or may not be all: of repeated keys it keeps the last."""
    if len(body) > _LARGE_BODY or body.count(b",") > _MANY_VALUES:
        return None
    if body.count(b"[") + body.count(b"{") > _MANY_CONTAINERS:
        return None
    members: dict[str, Json] = parsed.as_dict()
    if b"\\u0022" in body or body.count(b'"') != _quotation_marks(members):  # every one must be accounted for
        return None
    return members


def _read(body: bytes, end: float) -> dict[str, Json]:
    if not body:
        raise invalid_argument("JSON Parse error: The document is empty")
    document = _Reader(body, end).document()
    if not isinstance(document, dict):
        raise invalid_argument(f"JSON Value: {quote(document)} Is not object")
    return document


def _too_late() -> StatusError:
    return StatusError(Code.DEADLINE_EXCEEDED, "Timed out waiting for notification")


def _quotation_marks(document: Json) -> int:
    """How many quotation marks a document was written with, if none is spelled as a number and no key comes twice."""
    marks = 0
    level = [document]
    while level:
        kinds = set(map(type, level))
        deeper: list[Json] = []
        if str in kinds:
            strings = [value for value in level if type(value) is str]
            marks += 2 * len(strings) + sum([text.count('"') for text in strings])
        if dict in kinds:
            objects = [value for value in level if type(value) is dict]
            marks += 2 * sum(map(len, objects)) + sum([key.count('"') for value in objects for key in value])
            deeper.extend(chain.from_iterable([value.values() for value in objects]))
        if list in kinds:
            deeper.extend(chain.from_iterable([value for value in level if type(value) is list]))
        level = deeper
    return marks


class _Reader:
    """One pass over one document, in RapidJSON's own steps but without its recursion."""

    def __init__(self, body: bytes, end: float = math.inf) -> None:
        self.data = body + b"\0"  # the end reads as NUL, and a NUL as the end
        self.at = 0
        self.end = end  # by the monotonic clock
        self.steps = self.containers = 0
        self.singly = False  # whether numbers are read one by one

    def document(self) -> Json:
        for mark in b"\xef\xbb\xbf":
            self.take(mark)
        self.skip_space()
        if not self.data[self.at]:
            raise self.error("The document is empty.")
        return self.value()  # what follows the document is passed over

    def error(self, text: str, at: int | None = None) -> StatusError:
        return invalid_argument(f"JSON Parse error: {text} at offset: {self.at if at is None else at}")

    def take(self, byte: int) -> bool:
        if self.data[self.at] != byte:
            return False
        self.at += 1
        return True

    def skip_space(self) -> None:
        self.at = _SPACE.match(self.data, self.at).end()  # type: ignore[union-attr]

    def value(self) -> Json:
        opened: list[tuple[list[Json], list[str] | None]] = []  # arrays and objects not yet closed: items, keys
        while True:
            self.steps += 1
            if not self.steps % _STEPS:
                if time.monotonic() > self.end:
                    raise _too_late()
                time.sleep(_PAUSE)
            if self.data[self.at] in (_OPEN_ARRAY, _OPEN_OBJECT):
                self.containers += 1
                if self.containers > MOST_CONTAINERS:
                    raise self.error(f"More than {MOST_CONTAINERS} arrays and objects.")
            if self.take(_OPEN_ARRAY):
                self.skip_space()
                value: Json = []
                if not self.take(_CLOSE_ARRAY):
                    opened.append((value, None))
                    self.take_numbers(value)
                    continue
            elif self.take(_OPEN_OBJECT):
                self.skip_space()
                value = {}
                if not self.take(_CLOSE_OBJECT):
                    opened.append(([], [self.key()]))
                    continue
            else:
                value = self.scalar()
            while opened:
                items, keys = opened[-1]
                items.append(value)
                if self.next_item(items, keys):
                    break
                value = items if keys is None else _object(keys, items)
                opened.pop()
            else:
                return value

    def next_item(self, items: list[Json], keys: list[str] | None) -> bool:
        """After an item: step to the next one (True), or out of the array or object (False)."""
        self.skip_space()
        if self.take(_COMMA):
            self.skip_space()
            if keys is None:
                self.take_numbers(items)
            else:
                keys.append(self.key())
            return True
        if not self.take(_CLOSE_ARRAY if keys is None else _CLOSE_OBJECT):
            end = "']' after an array element" if keys is None else "'}' after an object member"
            raise self.error(f"Missing a comma or {end}.")
        return False

    def take_numbers(self, items: list[Json]) -> None:
        """Append a run of plain numbers in one step: an array of a million should not take a million steps."""
        if self.singly:
            return
        run = _NUMBERS.match(self.data, self.at, self.at + _LONGEST_RUN)
        if run is None or run.end() - run.start() < _LONG_RUN:
            return
        try:
            items.extend(orjson.loads(b"[" + run.group().rstrip(b" \n\r\t")[:-1] + b"]"))
        except orjson.JSONDecodeError:
            self.singly = True  # one number is too big: single steps find out which
            return
        self.at = run.end()

    def key(self) -> str:
        if self.data[self.at] != _QUOTE:
            raise self.error("Missing a name for object member.")
        key = self.string()
        self.skip_space()
        if not self.take(_COLON):
            raise self.error("Missing a colon after a name of object member.")
        self.skip_space()
        return key

    def scalar(self) -> Json:
        first = self.data[self.at]
        if first == _QUOTE:
            return self.string()
        if first not in _LITERALS:
            return self.number()
        spelling, value = _LITERALS[first]
        for byte in spelling:
            if not self.take(byte):
                raise self.error("Invalid value.")
        return value

    def string(self) -> str:
        parts = []
        self.at += 1
        while True:
            stop = _STRING_STOP.search(self.data, self.at).start()  # type: ignore[union-attr]
            parts.append(self.data[self.at : stop])
            self.at = stop
            if self.take(_QUOTE):
                return b"".join(parts).decode("utf-8", "surrogateescape")
            if not self.take(_BACKSLASH):
                raise self.error(
                    "Invalid escape character in string."
                    if self.data[stop]
                    else "Missing a closing quotation mark in string."
                )
            parts.append(self.escape(stop))

    def escape(self, start: int) -> bytes:
        """The character after the backslash at `start`; errors point there."""
        kind = self.data[self.at]
        if kind in _ESCAPES:
            self.at += 1
            return _ESCAPES[kind]
        if not self.take(ord("u")):
            raise self.error("Invalid escape character in string.", start)
        code = self.hex4(start)
        if 0xD800 <= code <= 0xDBFF:
            low = self.hex4(start) if self.take(_BACKSLASH) and self.take(ord("u")) else 0
            if not 0xDC00 <= low <= 0xDFFF:
                raise self.error("The surrogate pair in string is invalid.", start)
            code = (((code - 0xD800) << 10) | (low - 0xDC00)) + 0x10000
        return chr(code).encode("utf-8", "surrogatepass")

    def hex4(self, start: int) -> int:
        digits = _HEX4.match(self.data, self.at)
        if digits is None:
            raise self.error("Incorrect hex digit after \\u escape in string.", start)
        self.at = digits.end()
        return int(digits.group(), 16)

    def number(self) -> int | float:
        """ParseNumber, but rounded as Python rounds; a whole number that 64 bits do not hold is a float."""
        found = _NUMBER.match(self.data, self.at)
        if found is None:
            return self.nan_or_infinity(self.take(ord("-")))
        fraction, exponent = found.groups()
        if fraction == b".":
            raise self.error("Miss fraction part in number.", found.end(1))
        if exponent and not exponent[-1:].isdigit():
            raise self.error("Miss exponent in number.", found.end())
        start, self.at, text = self.at, found.end(), found.group()
        if not fraction and not exponent and len(text) <= _LONGEST_INT and -(2**63) <= int(text) < 2**64:
            return int(text)
        number = float(text)
        if math.isinf(number):
            raise self.error("Number too big to be stored in double.", start)
        return number

    def nan_or_infinity(self, minus: bool) -> float:
        if all(map(self.take, b"NaN")):
            return float("nan")
        if all(map(self.take, b"Inf")) and (self.data[self.at] != ord("i") or all(map(self.take, b"inity"))):
            return -math.inf if minus else math.inf
        raise self.error("Invalid value.")


def _object(keys: list[str], values: list[Json]) -> dict[str, Json]:
    found = dict(zip(keys, values, strict=True))
    return found if len(found) == len(keys) else RepeatedKeys(list(zip(keys, values, strict=True)))

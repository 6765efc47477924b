"""Reading a request's JSON as TensorFlow Serving reads it.

TensorFlow Serving parses with RapidJSON 1.1.0 (kParseNanAndInfFlag), whose dialect is a little wider than JSON: bare
NaN and Infinity, a byte order mark, anything after a NUL byte, invalid UTF-8 inside strings, repeated keys. Texts and
offsets of parse errors are RapidJSON's (reader.h, error/en.h).
"""

import math
import re
from collections.abc import Callable
from itertools import chain
from typing import Final, TypeVar

import orjson

from infra.modelserver.errors import StatusError, invalid_argument
from infra.modelserver.rest.json_text import Json, RepeatedKeys, quote

MAX_DEPTH: Final = 10_000  # TensorFlow Serving's parser recurses, and crashes at some ten thousand levels
_LONG_RUN: Final = 64  # bytes of plain numbers from which on they are parsed in one step
_LONGEST_RUN: Final = 1 << 20  # and at most so many at once, so that other threads may run
_LARGE_BODY: Final = 16 << 20  # larger ones are not given to orjson, which would block all other threads

_QUOTABLE: Final = 1 << 20  # bytes of a body that is parsed again for the last digits in an error

T = TypeVar("T")

_FRACTION = re.compile(r"[0-9][.e][-+0-9]")
_SPACE = re.compile(rb"[ \n\r\t]*")
_STRING_STOP = re.compile(rb'[\x00-\x1f"\\]')
_HEX4 = re.compile(rb"[0-9A-Fa-f]{4}")
_DIGITS = re.compile(rb"[0-9]*")
_NUMBERS = re.compile(rb"(?:-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?[ \n\r\t]*+,[ \n\r\t]*+)++")
_ESCAPES: Final = dict(zip(b'"/\\bfnrt', (b'"', b"/", b"\\", b"\b", b"\f", b"\n", b"\r", b"\t"), strict=True))
_LITERALS: Final = {ord("n"): (b"null", None), ord("t"): (b"true", True), ord("f"): (b"false", False)}
_POWERS: Final = [float(f"1e{n}") for n in range(309)]

_OPEN_ARRAY, _CLOSE_ARRAY, _OPEN_OBJECT, _CLOSE_OBJECT, _COMMA, _COLON, _QUOTE, _BACKSLASH = b'[]{},:"\\'


def read_object(body: bytes, read: Callable[[dict[str, Json]], T]) -> T:
    """The result of `read` for a body's object.

    If the text of read's error quotes a fraction, the body is read again with RapidJSON's own rounding, which may
    differ in the last digits.

    Raises:
        StatusError: INVALID_ARGUMENT if the body is not a JSON object; or as `read`.
    """
    document = parse_object(body)
    try:
        return read(document)
    except StatusError as error:
        if len(body) > _QUOTABLE or not _FRACTION.search(error.message):
            raise
    return read(parse_object(body, exactly=True))


def parse_object(body: bytes, *, exactly: bool = False) -> dict[str, Json]:
    """Parse a request's body, which must be one JSON object.

    exactly rounds numbers as RapidJSON does, to the last bit; only the texts of errors show the difference.

    Raises:
        StatusError: INVALID_ARGUMENT; it is not.
    """
    if not body:
        raise invalid_argument("JSON Parse error: The document is empty")
    document = None if exactly or len(body) > _LARGE_BODY else _parse_strict(body)
    if document is None:
        document = _Reader(body, exactly=exactly).document()
    if not isinstance(document, dict):
        raise invalid_argument(f"JSON Value: {quote(document)} Is not object")
    return document


def _parse_strict(body: bytes) -> Json | None:
    """What orjson reads in the body; None if RapidJSON would read, or may read, something else."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    # orjson silently keeps the last of repeated keys: every quotation mark must be accounted for.
    if b"\\u0022" in body or body.count(b'"') != _quotation_marks(document):
        return None
    return document


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

    def __init__(self, body: bytes, *, exactly: bool) -> None:
        self.data = body + b"\0"  # the end reads as NUL, and a NUL as the end
        self.at = 0
        self.exactly = exactly

    def document(self) -> Json:
        for mark in b"\xef\xbb\xbf":
            self.take(mark)
        self.skip_space()
        if not self.data[self.at]:
            raise self.error("The document is empty.")
        value = self.value()
        self.skip_space()
        if self.data[self.at]:
            raise self.error("The document root must not be followed by other values.")
        return value

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
            if self.take(_OPEN_ARRAY):
                self.skip_space()
                value: Json = []
                if not self.take(_CLOSE_ARRAY):
                    opened.append((value, None))
                    self.take_numbers(value)
                    self.check_depth(len(opened))
                    continue
            elif self.take(_OPEN_OBJECT):
                self.skip_space()
                value = {}
                if not self.take(_CLOSE_OBJECT):
                    opened.append(([], [self.key()]))
                    self.check_depth(len(opened))
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

    def check_depth(self, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise self.error(f"Arrays and objects nested deeper than {MAX_DEPTH} levels.")

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
        if self.exactly:
            return
        run = _NUMBERS.match(self.data, self.at, self.at + _LONGEST_RUN)
        if run is None or run.end() - run.start() < _LONG_RUN:
            return
        try:
            items.extend(orjson.loads(b"[" + run.group().rstrip(b" \n\r\t")[:-1] + b"]"))
        except orjson.JSONDecodeError:
            self.exactly = True  # one number is too big: single steps find out which
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

    def digits(self) -> bytes:
        match = _DIGITS.match(self.data, self.at)
        self.at = match.end()  # type: ignore[union-attr]
        return match.group()  # type: ignore[union-attr]

    def number(self) -> int | float:
        """ParseNumber in RapidJSON's normal precision: rounding, and what it takes for a number, are its own."""
        start = self.at
        minus = self.take(ord("-"))
        special = None
        if self.take(ord("0")):
            whole = b"0"
        else:
            whole = self.digits()
            if not whole:
                special = self.nan_or_infinity(minus)
        number = _Decimal(whole, minus)
        if number.too_big:
            raise self.error("Number too big to be stored in double.", start)
        if self.take(ord(".")):
            fraction = self.digits()
            if not fraction:
                raise self.error("Miss fraction part in number.")
            number.add_fraction(fraction)
        exponent = self.exponent(start, number)
        if number.is_double or exponent is not None:
            return number.to_double(exponent or 0)
        return number.to_int() if special is None else special

    def nan_or_infinity(self, minus: bool) -> float:
        if all(map(self.take, b"NaN")):
            return float("nan")
        if all(map(self.take, b"Inf")) and (self.data[self.at] != ord("i") or all(map(self.take, b"inity"))):
            return -math.inf if minus else math.inf
        raise self.error("Invalid value.")

    def exponent(self, start: int, number: "_Decimal") -> int | None:
        if not (self.take(ord("e")) or self.take(ord("E"))):
            return None
        minus = not self.take(ord("+")) and self.take(ord("-"))
        digits = self.digits()
        if not digits:
            raise self.error("Miss exponent in number.")
        exponent = int(digits.lstrip(b"0")[:12] or b"0")
        if not minus and exponent > 308 - number.shift:
            raise self.error("Number too big to be stored in double.", start)
        return -exponent if minus else exponent


class _Decimal:
    """The digits of one number on their way to an int or a double (ParseNumber's i64, d, expFrac, significandDigit)."""

    def __init__(self, whole: bytes, minus: bool) -> None:
        self.minus = minus
        self.is_double = self.too_big = False
        self.double = 0.0
        self.shift = 0  # decimal exponent of the significand so far
        limit = 2**63 if minus else 2**64 - 1
        used = len(whole)
        self.integer = int(whole or b"0") if used < 30 else limit + 1
        if self.integer > limit:
            used = next(n for n in range(len(str(limit)), 0, -1) if int(whole[:n]) <= limit)
            self.integer = int(whole[:used])
            self.double, self.is_double = float(self.integer), True
            for digit in whole[used:]:
                if self.double >= 1.7976931348623157e307:
                    self.too_big = True
                    return
                self.double = self.double * 10 + (digit - 48)
        self.significant = max(used - 1, 0)

    def add_fraction(self, fraction: bytes) -> None:
        taken = 0
        if not self.is_double:
            for digit in fraction:
                if self.integer > 2**53 - 1:
                    break
                self.integer = self.integer * 10 + (digit - 48)
                self.shift -= 1
                taken += 1
                self.significant += self.integer != 0
            self.double, self.is_double = float(self.integer), True
        for digit in fraction[taken:]:
            if self.significant >= 17:
                break
            self.double = self.double * 10.0 + (digit - 48)
            self.shift -= 1
            self.significant += self.double > 0.0

    def to_double(self, exponent: int) -> float:
        double = self.double if self.is_double else float(self.integer)
        power = exponent + self.shift
        double = _scale(_scale(double, -308), power + 308) if power < -308 else _scale(double, power)
        return -double if self.minus else double

    def to_int(self) -> int:
        return -self.integer if self.minus else self.integer


def _scale(significand: float, power: int) -> float:
    if power < -308:
        return 0.0
    return significand * _POWERS[power] if power >= 0 else significand / _POWERS[-power]


def _object(keys: list[str], values: list[Json]) -> dict[str, Json]:
    found = dict(zip(keys, values, strict=True))
    return found if len(found) == len(keys) else RepeatedKeys(list(zip(keys, values, strict=True)))

"""How TensorFlow Serving prints floating-point numbers: in replies, and in the JSON that errors quote."""

import math
import struct
from typing import Final

FLOAT_LIMIT: Final = 3.4028234e38  # RapidJSON's Value::IsFloat

_MASK: Final = 2**64 - 1


def to_single(value: float) -> float:
    """The float32 nearest to a value within its range."""
    single: float = struct.unpack("f", struct.pack("f", value))[0]
    return single


def decimal(value: float, *, single: bool) -> str:
    """A reply's number: six digits if they are the number, else 9 (float32) or 17 (float64) of them.

    Whole numbers get `.0`; NaN and Infinity are bare words (json_tensor.cc, WriteDecimal).
    """
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    text = f"{value:.6g}"
    back = float(text)
    if (abs(back) > FLOAT_LIMIT or to_single(back) != value) if single else back != value:
        text = f"{value:.9g}" if single else f"{value:.17g}"
    return text if "." in text or "e" in text else f"{text}.0"


def quoted(value: float) -> str:
    """A finite double inside a quoted array or object, as RapidJSON's writer prints it (dtoa.h, Prettify)."""
    if value == 0:
        return "-0.0" if math.copysign(1, value) < 0 else "0.0"
    digits, exponent = _grisu2(abs(value))
    point = len(digits) + exponent  # 10^(point-1) <= |value| < 10^point
    if exponent >= 0 and point <= 21:
        text = digits + "0" * exponent + ".0"
    elif 0 < point <= 21:
        text = f"{digits[:point]}.{digits[point:]}"
    elif -6 < point <= 0:
        text = "0." + "0" * -point + digits
    elif len(digits) == 1:
        text = f"{digits}e{point - 1}"
    else:
        text = f"{digits[0]}.{digits[1:]}e{point - 1}"
    return f"-{text}" if value < 0 else text


def _grisu2(value: float) -> tuple[str, int]:
    """Digits and decimal exponent by Loitsch's Grisu2, which RapidJSON uses: short, and not always the closest.

    Numbers are pairs of a 64-bit significand and a binary exponent ("Printing Floating-Point Numbers Quickly and
    Accurately with Integers", 2010).
    """
    bits = struct.unpack("<Q", struct.pack("<d", value))[0]
    biased, fraction = bits >> 52, bits & (2**52 - 1)
    significand, binary = (fraction + 2**52, biased - 1075) if biased else (fraction, -1074)
    high, high_binary = _normalized(2 * significand + 1, binary - 1)
    low = 4 * significand - 1 if significand == 2**52 else 2 * significand - 1
    low <<= binary - (2 if significand == 2**52 else 1) - high_binary
    exact, _ = _normalized(significand, binary)
    power, power_binary, ten_exponent = _cached_power(high_binary)
    upper = _product(high, power) - 1
    delta = upper - (_product(low, power) + 1)
    shift = -(high_binary + power_binary + 64)
    digits, kappa = _digits(upper, shift, delta, upper - _product(exact, power))
    return digits, kappa - ten_exponent


def _normalized(significand: int, binary: int) -> tuple[int, int]:
    shift = 64 - significand.bit_length()
    return significand << shift, binary - shift


def _product(a: int, b: int) -> int:
    return (a * b + 2**63) >> 64


def _cached_power(binary: int) -> tuple[int, int, int]:
    """The power of ten, among every eighth, whose product with 2^binary is near 1: significand and both exponents."""
    index = (math.ceil((-61 - binary) * 0.30102999566398114 + 347) >> 3) + 1
    ten = -348 + 8 * index
    top, bottom = (10**ten, 1) if ten >= 0 else (1, 10**-ten)
    shift = 64 - (top.bit_length() - bottom.bit_length())
    for bits in (shift, shift - 1):  # the quotient has 64 bits for one of the two
        scaled = (top << bits) if bits >= 0 else top
        divisor = bottom if bits >= 0 else bottom << -bits
        rounded = (2 * scaled + divisor) // (2 * divisor)
        if rounded.bit_length() == 64:
            return rounded, -bits, ten
    raise AssertionError(f"no 64-bit significand for 1e{ten}")


def _digits(upper: int, shift: int, delta: int, distance: int) -> tuple[str, int]:
    """The fewest digits that distinguish upper / 2^shift from upper - delta, moved towards upper - distance."""
    one = 1 << shift
    whole, rest = upper >> shift, upper & (one - 1)
    kappa = len(str(whole))
    digits = ""
    while kappa > 0:
        kappa -= 1
        digit, whole = divmod(whole, 10**kappa)
        if digit or digits:
            digits += str(digit)
        remainder = (whole << shift) + rest
        if remainder <= delta:
            return _rounded(digits, delta, remainder, 10**kappa << shift, distance), kappa
    unit = 1
    while True:
        rest, delta, unit = rest * 10, delta * 10, unit * 10
        digit = rest >> shift
        if digit or digits:
            digits += str(digit)
        rest &= one - 1
        kappa -= 1
        if rest < delta:
            scaled = distance * unit & _MASK if -kappa < 9 else 0
            return _rounded(digits, delta, rest, one, scaled), kappa


def _rounded(digits: str, delta: int, rest: int, step: int, distance: int) -> str:
    last = int(digits[-1])
    while (
        rest < distance
        and delta - rest >= step
        and (rest + step < distance or distance - rest > rest + step - distance)
    ):
        last -= 1
        rest += step
    return digits[:-1] + str(last)

"""Whether one model is better than another on the same rows: paired tests, and what they come to.

Right and wrong answers are compared by McNemar's exact test (McNemar 1947), other figures by a paired bootstrap (Efron
and Tibshirani 1993, ch. 12): both models' figures are had of the same rows, drawn again and again.
"""

import math
from dataclasses import dataclass

import numpy as np

from tasks.evaluation.metrics import Figure
from tasks.policy import MetricRule
from tasks.records import GateVerdict
from tasks.wire.dtypes import Array

ERROR = 0.05  # share of the intervals that may miss the true difference
_SEED = 20
_MOST, _FEWEST = 1000, 200  # resamples
_DRAWS = 100_000_000  # rows drawn in all, unless the fewest resamples need more: about a second
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Difference:
    """A figure of two models on the same rows, and the interval in which the true difference, new minus live, lies."""

    new: float
    live: float
    low: float | None  # None where there are too few rows for an interval
    high: float | None
    n: int  # rows


def compared(new: Figure, live: Figure, error: float = ERROR) -> Difference:
    """Two models' figures of the same rows, compared by the test that suits them.

    Args:
        error: how often the interval may miss the true difference, in 0..1.
    """
    if new.rows.dtype == bool and live.rows.dtype == bool:
        return right_or_wrong(new.rows, live.rows, error)
    random, rows = np.random.default_rng(_SEED), len(new.rows)
    columns = np.concatenate([new.columns, live.columns], axis=1)
    resamples = max(_FEWEST, min(_MOST, _DRAWS // rows))
    # How often each row was drawn, times what it has, is the sum over the rows drawn.
    drawn = (np.bincount(random.integers(0, rows, rows), minlength=rows) for _ in range(resamples))
    means = np.stack([times @ columns / rows for times in drawn])
    of_new, of_live = np.split(means, [new.columns.shape[1]], axis=1)
    return resampled(new.value, live.value, new.of(of_new) - live.of(of_live), rows, error)


def right_or_wrong(new: Array, live: Array, error: float = ERROR) -> Difference:
    """Two models that are right, or wrong, about each of the same rows: bool `[N]` each.

    Only rows that one of them gets right and the other wrong tell them apart. An end of the interval is the further one
    of two: that of Clopper and Pearson for the new one's share of such rows, which is beyond 0 just where McNemar's
    exact test is significant; and Student's, since how many there are varies, too. Where there are none, the interval
    is as wide as their share can be.
    """
    from scipy.stats import binomtest

    n, won, lost = len(new), int((new & ~live).sum()), int((~new & live).sum())
    apart = won + lost
    if not apart:
        most = float(binomtest(0, n).proportion_ci(1 - error, method="exact").high)
        return Difference(float(new.mean()), float(live.mean()), -most, most, n)
    share = binomtest(won, apart).proportion_ci(1 - error, method="exact")
    exact = [float(2 * end - 1) * apart / n for end in (share.low, share.high)]
    difference = (won - lost) / n
    half = _half(math.sqrt((apart / n - difference**2) / n), n - 1, error) if n > 1 else 0.0
    low, high = min(exact[0], difference - half), max(exact[1], difference + half)
    return Difference(float(new.mean()), float(live.mean()), low, high, n)


def _half(standard_error: float, degrees: int, error: float) -> float:
    """Half of the width of Student's interval."""
    from scipy.stats import t

    return float(t.ppf(1 - error / 2, degrees) * standard_error)


def resampled(new: float, live: float, differences: Array, n: int, error: float = ERROR) -> Difference:
    """Two models' figures of `n` rows, and their differences, new minus live, on resamples of these: float `[R]`.

    The interval is Student's, by the bootstrap's standard error: with few rows it stays as wide as it has to be.
    """
    found = differences[np.isfinite(differences)]
    degrees = min(n, len(found)) - 1
    if degrees < 1:
        return Difference(new, live, None, None, n)
    # A resample of n rows varies as n - 1 do.
    half = _half(float(found.std(ddof=1)) * math.sqrt(n / (n - 1)), degrees, error)
    return Difference(new, live, new - live - half, new - live + half, n)


def judged(found: Difference, rule: MetricRule) -> GateVerdict:
    """What a difference comes to: evidence is needed for better as for worse.

    Better: the whole interval is. Worse: the difference is beyond the tolerance, and the whole interval on that side of
    0. Not worse: not even the interval's bad end is beyond the tolerance.
    """
    gain, low, high = _gain(found, rule)
    if low > 0:
        return "better"
    if gain < -rule.tolerance - _ROUNDING and high < 0:
        return "worse"
    return "not worse" if low >= -rule.tolerance - _ROUNDING else "cannot tell"


def rows_needed(found: Difference, rule: MetricRule) -> int | None:
    """How many rows it would take to tell, if the difference stayed as it is; None if no number would do.

    An interval is half as wide with four times the rows.
    """
    gain, low, high = _gain(found, rule)
    if not math.isfinite(low):
        return None
    beyond = gain < -rule.tolerance
    room, half = (-gain, high - gain) if beyond else (gain + rule.tolerance, gain - low)
    if room <= _ROUNDING:
        return None
    return max(found.n + 1, math.ceil(found.n * (half / room) ** 2))


def _gain(found: Difference, rule: MetricRule) -> tuple[float, float, float]:
    """How much better the new one is, and between which ends that lies."""
    low = -math.inf if found.low is None else found.low
    high = math.inf if found.high is None else found.high
    gain = found.new - found.live
    return (gain, low, high) if rule.better == "higher" else (-gain, -high, -low)

"""Intervals for a mean and for a share, and the quantiles they need."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache
from statistics import NormalDist

_SERIES_UP_TO = 200  # degrees of freedom
_ROUNDS = 200


def mean_interval(
    n: int, total: Fraction | float, total_square: Fraction | float, *, level: float = 0.95
) -> tuple[float, float] | None:
    """Student's interval of a mean: ``mean ± t(level, n - 1) * s / sqrt(n)``.

    Exact for independent, normally distributed scores, and good for others from a few dozen on. It is not cut to the
    range of the scores: an end beyond it says that n is small. All scores equal: both ends are the mean.

    Source: NIST/SEMATECH e-Handbook of Statistical Methods, section 1.3.5.2, https://doi.org/10.18434/M32189

    Args:
        n: Number of scores.
        total: Their sum.
        total_square: The sum of their squares.

    Returns:
        (low, high), or None for n < 2, where the spread is unknown.
    """
    spread = stdev(n, total, total_square)
    if spread is None:
        return None
    mean = float(Fraction(total) / n)
    half = t_quantile(level, n - 1) * spread / math.sqrt(n)
    return mean - half, mean + half


def stdev(n: int, total: Fraction | float, total_square: Fraction | float) -> float | None:
    """Sample standard deviation, with n - 1; None for n < 2, 0 for equal scores.

    The sums are taken as exact, so that nothing cancels; a variance below 0, which only sums that do not belong together
    have, counts as 0.
    """
    if n < 2:  # noqa: PLR2004  # a spread needs two
        return None
    variance = (Fraction(total_square) - Fraction(total) ** 2 / n) / (n - 1)
    return math.sqrt(max(variance, Fraction(0)))


def wilson(passed: float, n: float, *, level: float = 0.95) -> tuple[float, float] | None:
    """Wilson's score interval of a share.

    Keeps its promise at small n and near 0 and 1, where ``p ± z * sqrt(p (1 - p) / n)`` does not: with no pass among n the
    low end is 0 and the high end is above 0, and the other way round. Passes come in whole numbers, so that at a single true
    share it holds somewhat more or less than `level`: for 95 %, 91 to 98 at n = 10 and 93 to 97 from n = 100 on.

    Source: Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953; formula as in Brown, Cai and DasGupta 2001,
    https://doi.org/10.1214/ss/1009213286, section 3.1.1, equation (4).

    Args:
        passed: Need not be whole, as where items in clusters count for fewer independent ones.
        n: As `passed`, at least that.

    Returns:
        (low, high) within [0, 1], or None for n = 0.
    """
    if n == 0:
        return None
    z = _normal_quantile(level)
    share, weight = passed / n, z * z / n
    centre = (share + weight / 2) / (1 + weight)
    half = z * math.sqrt(share * (1 - share) / n + weight / (4 * n)) / (1 + weight)
    low = 0.0 if passed == 0 else max(0.0, centre - half)
    high = 1.0 if passed == n else min(1.0, centre + half)
    return low, high


@lru_cache(maxsize=1024)
def t_quantile(level: float, df: int) -> float:
    """The t with P(-t <= T <= t) = `level` for Student's T with `df` degrees of freedom, to a relative 1e-9.

    Up to 200 degrees the closed form of the distribution is inverted by bisection; beyond, Fisher's expansion around the
    normal quantile is closer than that.

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4 (closed form), 26.7.5 (expansion),
    https://personal.math.ubc.ca/~cbm/aands/

    Raises:
        ValueError: `level` is not within (0, 1), or `df` is below 1.
    """
    if not 0 < level < 1 or df < 1:
        raise ValueError("level must lie within (0, 1) and df be at least 1")
    return _t_expanded(_normal_quantile(level), df) if df > _SERIES_UP_TO else _t_inverted(level, df)


def _normal_quantile(level: float) -> float:
    return NormalDist().inv_cdf(0.5 + level / 2)


def _t_inverted(level: float, df: int) -> float:
    low, high = 0.0, math.pi / 2  # the angle whose tangent is t / sqrt(df)
    for _ in range(_ROUNDS):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if _within(middle, df) < level:
            low = middle
        else:
            high = middle
    return math.sqrt(df) * math.tan(low)


def _within(angle: float, df: int) -> float:
    """P(-t <= T <= t) where ``tan(angle) = t / sqrt(df)``; every term is positive, so nothing cancels."""
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = df % 2
    term, series = (cosine, 0.0) if odd else (1.0, 0.0)
    for k in range(2 + odd, df + 1, 2):
        series += term
        term *= cosine * cosine * (k - 1) / k
    return 2 / math.pi * (angle + sine * series) if odd else sine * series


def _t_expanded(z: float, df: int) -> float:
    square = z * z
    terms = (
        z,
        z * (square + 1) / 4,
        z * ((5 * square + 16) * square + 3) / 96,
        z * (((3 * square + 19) * square + 17) * square - 15) / 384,
        z * ((((79 * square + 776) * square + 1482) * square - 1920) * square - 945) / 92160,
    )
    return math.fsum(term / float(df) ** power for power, term in enumerate(terms))

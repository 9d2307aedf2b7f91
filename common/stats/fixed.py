"""Sums of scores that are exact and do not depend on the order of adding, in Redis's 64-bit integer counters.

A score is rounded once, to a whole number of billionths. That number, and its square, are cut into limbs of twelve decimal
digits, and each limb is summed in a counter of its own. Integers add without error and in any order, so that a run's mean
is the same whoever counted its results, in whatever sequence.

Room: every limb but the highest is below 10**12, so its counter holds 9.2 million addends. The highest limb of a score is
at most 10**4 and that of a square 10**8 for scores up to `MAX_SCORE` = 10**7, which leaves more room than that.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache

from common.schemas.graders import MAX_SCORE

SCALE = 10**9  # units per 1.0
_LIMB = 10**12
_KEPT = 1024  # scores repeat: of most graders there are few


def to_units(score: float) -> int:
    """`score` in billionths, rounded half to even from its exact binary value.

    Raises:
        ValueError: not finite, or further from 0 than `MAX_SCORE`.
    """
    if not -MAX_SCORE <= score <= MAX_SCORE:
        raise ValueError(f"a score must be a number within {MAX_SCORE:.0f} of 0")
    numerator, denominator = score.as_integer_ratio()
    units, rest = divmod(numerator * SCALE, denominator)
    return units + (2 * rest > denominator or (2 * rest == denominator and units % 2 == 1))


@lru_cache(maxsize=_KEPT)
def split(score: float) -> tuple[int, int]:
    """The limbs (high, low) of a score; only high may be negative. Raises `ValueError` as `to_units`."""
    return divmod(to_units(score), _LIMB)


@lru_cache(maxsize=_KEPT)
def split_square(score: float) -> tuple[int, int, int]:
    """The limbs (high, middle, low) of the square of the rounded score. Raises `ValueError` as `to_units`."""
    rest, low = divmod(to_units(score) ** 2, _LIMB)
    high, middle = divmod(rest, _LIMB)
    return high, middle, low


def total(high: int, low: int) -> Fraction:
    """The exact sum of scores from the sums of their limbs."""
    return Fraction(high * _LIMB + low, SCALE)


def total_square(high: int, middle: int, low: int) -> Fraction:
    """The exact sum of squares from the sums of their limbs."""
    return Fraction((high * _LIMB + middle) * _LIMB + low, SCALE**2)

"""Decisions about a difference: is b better, is it at least not worse, and how many items would settle it."""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from common.stats.intervals import t_quantile

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from common.stats.estimate import Estimate

_NODES = 200
_MOST = 10**12  # items


def lower_bound(estimate: Estimate, *, level: float = 0.95) -> float | None:
    """The number that the true mean is above with confidence `level`: ``mean - t * se``, one-sided.

    It is the lower end of the two-sided interval of level ``2 * level - 1``: 90 % for the usual 0.95.
    None where the estimate has no standard error; the mean itself where that is 0.

    Source: NIST/SEMATECH e-Handbook of Statistical Methods, section 7.2.2.1, https://doi.org/10.18434/M32189

    Args:
        level: Within (0.5, 1).
    """
    if estimate.mean is None or estimate.se is None or estimate.df is None:
        return None
    return estimate.mean - t_quantile(2 * level - 1, estimate.df) * estimate.se


def not_worse(estimate: Estimate, margin: float, *, level: float = 0.95) -> bool:
    """Whether b is shown to be not worse than a by `margin` or more: the one-sided `lower_bound` lies above ``-margin``.

    False means *not shown*, which a lack of items may be the cause of as well as a loss; `items_needed` tells them apart.
    Nothing is shown by fewer than two items or clusters. Where all differences are equal the bound is their mean, so
    that a run compared with itself passes.

    Source: ICH E9, Statistical Principles for Clinical Trials, section 3.3.2,
    https://database.ich.org/sites/default/files/E9_Guideline.pdf; with the level 0.975 it is the usual regulatory choice.

    Args:
        estimate: Of b - a, as from `paired.difference`, for a score of which more is better.
        margin: What loss may be overlooked, in units of the score; at least 0.

    Raises:
        ValueError: `margin` is below 0.
    """
    if not margin >= 0:
        raise ValueError("a margin is at least 0")
    lower = lower_bound(estimate, level=level)
    return lower is not None and lower > -margin


def better_than(estimate: Estimate, margin: float = 0.0, *, level: float = 0.95) -> bool:
    """Whether b is shown to be better than a by more than `margin`: the one-sided `lower_bound` lies above it.

    False means *not shown*, as for `not_worse`.
    """
    lower = lower_bound(estimate, level=level)
    return lower is not None and lower > margin


def deviation(estimate: Estimate) -> float | None:
    """The standard deviation of one item's difference that the estimate shows, ``se * sqrt(n)``; for `power`, `items_needed`.

    With clusters it is that of an item as good as one of them, so that what follows holds for more items in clusters of
    the same kind. None where the estimate has no standard error.
    """
    return None if estimate.se is None else estimate.se * math.sqrt(estimate.n)


def power(distance: float, sd: float, n: int, *, level: float = 0.95, one_sided: bool = False) -> float:
    """The chance that the t test of n differences finds what is there.

    ``P(T > t) + P(T < -t)`` for the noncentral T with n - 1 degrees of freedom and centre ``distance * sqrt(n) / sd``, which
    is exact for normally distributed differences; one-sided the first term only. Computed as the mean of normal tails
    over the distribution of the deviation, to 1e-9.

    n < 2: 0, nothing can be found. sd = 0: 1, unless the distance is 0. Distance 0: ``1 - level``.

    Source: Cohen 1988, Statistical Power Analysis, https://doi.org/10.4324/9780203771587, section 12.8 for t; noncentral t as
    in Johnson, Kotz and Balakrishnan 1995, Continuous Univariate Distributions 2, section 31.1.

    Args:
        distance: From the number tested against to the true mean: for "different" the least difference that matters, two
            sides; for `not_worse` the margin plus the true b - a, one-sided. Not the difference that was observed: the
            power of what was found says nothing that its p-value does not.
        sd: Of the differences, as from `deviation`; at least 0.
    """
    if n < 2:  # noqa: PLR2004  # a spread needs two
        return 0.0
    if sd == 0:
        return 1.0 if distance > 0 or (distance and not one_sided) else (1 - level if distance == 0 else 0.0)
    centre = distance * math.sqrt(n) / sd
    critical = t_quantile(2 * level - 1 if one_sided else level, n - 1)
    spreads, weights = _spreads(n - 1)
    chances = [_above(critical * s - centre) + (0.0 if one_sided else _above(critical * s + centre)) for s in spreads]
    return min(1.0, math.fsum(w * chance for w, chance in zip(weights, chances, strict=True)))


def items_needed(
    distance: float, sd: float, *, level: float = 0.95, wanted: float = 0.8, one_sided: bool = False
) -> int | None:
    """How many items would settle it: the least n with ``power(distance, sd, n) >= wanted``.

    None where no number would (the distance is 0, or one-sided below 0), or only one beyond 10**12. sd = 0: 2.

    Example: b is to be shown not worse than a by 0.02, they are believed to be equal, and the differences deviate by 0.3:
    ``items_needed(0.02, 0.3, one_sided=True)`` is 1393.

    Source: as `power`.

    Args:
        wanted: The power, within (``1 - level``, 1).
    """
    if distance == 0 or (one_sided and distance < 0):
        return None
    low = high = 2
    while power(distance, sd, high, level=level, one_sided=one_sided) < wanted:
        low, high = high, 2 * high
        if high > _MOST:
            return None
    while low < high:
        middle = (low + high) // 2
        if power(distance, sd, middle, level=level, one_sided=one_sided) < wanted:
            low = middle + 1
        else:
            high = middle
    return high


def share_power(share: float, threshold: float, n: int, *, level: float = 0.95, one_sided: bool = False) -> float:
    """The chance that n items tell a true `share` of passes from `threshold`, by the score test that `wilson` inverts.

    ``Φ((d * sqrt(n) - z * sqrt(threshold * (1 - threshold))) / sqrt(share * (1 - share)))`` for d = share - threshold; on two
    sides the same for -d is added. A normal approximation: trust it where n times the rarer outcome is 10 or more.

    n = 0: 0. A share of 0 or 1 has no spread: the chance is 0 or 1.

    Source: Fleiss, Levin and Paik 2003, Statistical Methods for Rates and Proportions, https://doi.org/10.1002/0471445428,
    section 2.5.

    Args:
        share: The true share, within [0, 1].
        threshold: What it is tested against, within (0, 1). One-sided, a share above it is to be found.
    """
    if n == 0:
        return 0.0
    z = NormalDist().inv_cdf(level if one_sided else 0.5 + level / 2)
    short = z * math.sqrt(threshold * (1 - threshold))
    gap, spread = (share - threshold) * math.sqrt(n), math.sqrt(share * (1 - share))
    if spread == 0:
        return float(gap > short or (not one_sided and -gap > short))
    return _above((short - gap) / spread) + (0.0 if one_sided else _above((short + gap) / spread))


def _above(z: float) -> float:
    return 0.5 * math.erfc(z / math.sqrt(2))


def _spreads(df: int) -> tuple[list[float], list[float]]:
    """Points and weights over the distribution of ``sqrt(chi-squared / df)``, for Gauss-Legendre quadrature."""
    nodes, weights = _legendre()
    reach = 12 / math.sqrt(2 * df)  # beyond 12 deviations nothing is left
    low, high = max(0.0, 1 - reach), 1 + reach
    points = low + (high - low) * (nodes + 1) / 2
    log_density = (df - 1) * np.log(points) - df * (points**2 - 1) / 2
    weights = weights * np.exp(log_density)
    return points.tolist(), (weights / weights.sum()).tolist()


@lru_cache(maxsize=1)
def _legendre() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.polynomial.legendre.leggauss(_NODES)

"""The mean of a run's scores, and its share of passes, with their intervals."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from common.stats.clusters import numbered, standard_error
from common.stats.estimate import Estimate
from common.stats.intervals import t_quantile, wilson

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def mean(values: ArrayLike, *, clusters: ArrayLike | None = None, level: float = 0.95) -> Estimate:
    """The mean of scores with Student's interval ``mean ± t(level, df) * se``.

    Without clusters ``se = s / sqrt(n)`` with n - 1 in s, and df = n - 1; with clusters see `clusters.standard_error`, and
    df = clusters - 1. The interval is not cut to the scores' range.

    n = 0: the mean is None. n = 1, or one cluster: no standard error, no interval. All equal: standard error 0 and
    an interval of no width, which says nothing about items not seen; for shares use `proportion`.

    Source: NIST/SEMATECH e-Handbook of Statistical Methods, section 1.3.5.2, https://doi.org/10.18434/M32189

    Args:
        values: n finite scores; unscored items are left out by the caller, and counted there.
        clusters: n labels, all strings or all integers.

    Raises:
        ValueError: a value is not finite, or the labels are not as many as the values.
    """
    scores = finite(values)
    n = len(scores)
    centre = _centre(scores)
    if centre is None:
        return Estimate(n=0, mean=None, se=None, interval=None)
    se, df = _spread(scores - centre, clusters)
    if se is None:
        return Estimate(n=n, mean=centre, se=None, interval=None)
    half = t_quantile(level, df) * se
    return Estimate(n=n, mean=centre, se=se, interval=(centre - half, centre + half), df=df)


def proportion(passed: ArrayLike, *, clusters: ArrayLike | None = None, level: float = 0.95) -> Estimate:
    """The share of passes with Wilson's interval; with clusters, on the effective number of items.

    The effective number is ``share * (1 - share) / se**2`` with the clustered standard error, at most n: so many
    independent items would have told as much. Where all pass or all fail it is the number of clusters, the cautious end.
    The normal quantile is widened by ``t(level, clusters - 1) / z``.

    n = 0: the share is None. One cluster: no standard error, no interval. Without clusters an interval stands from n = 1.

    Source: `intervals.wilson`; for clusters the modified Wilson interval of Dean and Pagano 2015,
    https://doi.org/10.1093/jssam/smv024, section 2, which follows Korn and Graubard 1998 in the effective sample size.

    Args:
        passed: n values, each 0 or 1 (or booleans).

    Raises:
        ValueError: a value is neither 0 nor 1, or the labels are not as many as the values.
    """
    ones = finite(passed)
    if not np.all((ones == 0) | (ones == 1)):
        raise ValueError("a share counts values of 0 and 1 only")
    n = len(ones)
    if n == 0:
        return Estimate(n=0, mean=None, se=None, interval=None)
    share = float(ones.sum()) / n
    se, df = _spread(ones - share, clusters)
    if clusters is None:
        return Estimate(n=n, mean=share, se=se, interval=wilson(share * n, n, level=level), df=df if se is not None else None)
    if se is None:
        return Estimate(n=n, mean=share, se=None, interval=None)
    return Estimate(n=n, mean=share, se=se, interval=_clustered_wilson(share, se, n, df=df, level=level), df=df)


def finite(values: ArrayLike) -> NDArray[np.float64]:
    """`values` as a flat array of numbers. Raises `ValueError` where one is not finite, as an unscored item is."""
    scores = np.asarray(values, dtype=np.float64)
    if scores.ndim != 1 or not np.isfinite(scores).all():
        raise ValueError("values must be a flat list of finite numbers; leave unscored items out")
    return scores


def _centre(scores: NDArray[np.float64]) -> float | None:
    """The mean, to the last digit whatever the order; equal scores give that score itself."""
    if not len(scores):
        return None
    if scores.min() == scores.max():
        return float(scores[0])
    return math.fsum(scores) / len(scores)


def _spread(residuals: NDArray[np.float64], clusters: ArrayLike | None) -> tuple[float | None, int]:
    n = len(residuals)
    if clusters is not None:
        numbers, count = numbered(clusters, n)
        return standard_error(residuals, numbers, count), count - 1
    if n < 2:  # noqa: PLR2004  # a spread needs two
        return None, 0
    return float(np.sqrt(np.sum(residuals**2) / (n - 1) / n)), n - 1


def _clustered_wilson(share: float, se: float, n: int, *, df: int, level: float) -> tuple[float, float] | None:
    settled = share in (0, 1)
    effective = df + 1.0 if settled else float(n)
    if not settled and se > 0:
        effective = min(effective, share * (1 - share) / se**2)
    widened = effective * (t_quantile(level, n - 1) / t_quantile(level, df)) ** 2
    return wilson(share * widened, widened, level=level)

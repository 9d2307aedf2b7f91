"""Bootstrap intervals: what the scores at hand, drawn again and again, say about a statistic without a formula.

Randomness is the caller's generator: equal seeds give equal intervals. Resamples are drawn in batches, so that memory stays
below some 64 MB whatever the numbers of items and resamples; time is about 10 ns times their product.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import TYPE_CHECKING, Protocol

import numpy as np

from common.stats.clusters import numbered
from common.stats.estimate import Estimate
from common.stats.means import finite, mean
from common.stats.paired import differences

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    Resampled = Callable[[NDArray[np.intp]], NDArray[np.float64]]  # rows of drawn items to a number each

RESAMPLES = 9_999
_BATCH = 2_000_000  # drawn items held at a time
_JACKKNIFE = 1_000  # parts left out in turn, at most


class Statistic(Protocol):
    """A number for each row of resampled scores, as `numpy.mean` and `numpy.median` give."""

    def __call__(self, values: NDArray[np.float64], /, *, axis: int) -> NDArray[np.float64]: ...


def bca(
    values: ArrayLike, statistic: Statistic, *, rng: np.random.Generator, level: float = 0.95, resamples: int = RESAMPLES
) -> tuple[float, float] | None:
    """The bias-corrected and accelerated interval: percentiles of the resampled statistic, moved for bias and skew.

    The ends are the percentiles at ``Φ(z0 + (z0 + z) / (1 - a * (z0 + z)))`` for z = ∓ the normal quantile of `level`, where
    z0 is the normal quantile of the share of resamples below the statistic (ties half), and the acceleration
    ``a = Σ d³ / (6 * (Σ d²)**1.5)`` comes from the jackknife, d being the mean of its values less each. Beyond 1,000 values
    the jackknife leaves out 1,000 parts of equal size in turn.

    n < 2: None. All equal: both ends are the statistic. Small n: too narrow (about 90 % instead of 95 at n = 10), and for
    shares with few passes or few fails far too narrow; take `intervals.wilson` there. For a share the ends move in
    steps of 1 / n, which below some hundred items makes the interval a little too wide.

    Source: Efron 1987, https://doi.org/10.1080/01621459.1987.10478410; formulas as in Efron and Tibshirani 1993, An
    Introduction to the Bootstrap, section 14.3.

    Args:
        values: n finite scores.
        statistic: Called with an array of resamples by rows, ``axis=-1``.
        resamples: At least 1; ends move little from about 2,000 on.

    Raises:
        ValueError: a value is not finite.
    """
    scores = finite(values)

    def of(drawn: NDArray[np.intp]) -> NDArray[np.float64]:
        return statistic(scores[drawn], axis=-1)

    if len(scores) < 2:  # noqa: PLR2004  # a spread needs two
        return None
    if scores.min() == scores.max():
        same = float(of(np.arange(len(scores))[np.newaxis, :])[0])
        return same, same
    return _corrected(_resampled(len(scores), of, rng=rng, resamples=resamples), len(scores), of, level=level)


def percentile(
    values: ArrayLike, statistic: Statistic, *, rng: np.random.Generator, level: float = 0.95, resamples: int = RESAMPLES
) -> tuple[float, float] | None:
    """The plain percentiles of the resampled statistic, ``(1 - level) / 2`` from either end.

    Simpler than `bca` and less exact where the statistic is skewed. Edges and arguments are those of `bca`.

    Source: Efron 1979, https://doi.org/10.1214/aos/1176344552; Efron and Tibshirani 1993, section 13.3.
    """
    scores = finite(values)
    if len(scores) < 2:  # noqa: PLR2004  # a spread needs two
        return None
    replicates = _resampled(len(scores), lambda drawn: statistic(scores[drawn], axis=-1), rng=rng, resamples=resamples)
    low, high = np.quantile(replicates, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def paired_bootstrap(
    a: ArrayLike,
    b: ArrayLike,
    *,
    rng: np.random.Generator,
    clusters: ArrayLike | None = None,
    level: float = 0.95,
    resamples: int = RESAMPLES,
) -> Estimate:
    """The mean of the per-item differences **b - a** with its BCa interval; with clusters, whole clusters are drawn.

    se is the deviation of the resampled means. p is twice the smaller share of them on either side of 0, with one added to
    count and total, so that it is never below ``2 / (resamples + 1)``. df is that of `paired.difference`.

    n = 0: the mean is None. One pair, or one cluster: no se, interval or p. All differences equal: se 0, an interval of no
    width, p = 1 where they are 0 and none otherwise, as in `paired.difference`.

    Source: as `bca`; whole clusters and the one added: Davison and Hinkley 1997, Bootstrap Methods and Their Application,
    https://doi.org/10.1017/CBO9780511802843, sections 3.8 and 4.2.

    Args:
        a: n finite scores; a pair with an unscored side is left out by the caller, and counted there.
        b: n finite scores, of the same items in the same order.
        clusters: n labels, all strings or all integers.

    Raises:
        ValueError: lengths differ, or a score is not finite.
    """
    gained = differences(a, b)
    n = len(gained)
    numbers, count = numbered(clusters if clusters is not None else np.arange(n), n)
    sums, sizes = np.bincount(numbers, weights=gained, minlength=count), np.bincount(numbers, minlength=count)

    def of(drawn: NDArray[np.intp]) -> NDArray[np.float64]:
        return np.asarray(sums[drawn].sum(axis=-1) / sizes[drawn].sum(axis=-1))

    centre = mean(gained).mean
    if count < 2 or centre is None:  # noqa: PLR2004  # a spread needs two
        return Estimate(n=n, mean=centre, se=None, interval=None)
    if gained.min() == gained.max():
        return Estimate(n=n, mean=centre, se=0.0, interval=(centre, centre), p=None if centre else 1.0, df=count - 1)
    means = _resampled(count, of, rng=rng, resamples=resamples)
    return Estimate(
        n=n,
        mean=centre,
        se=float(means.std()),
        interval=_corrected(means, count, of, level=level),
        p=_two_sided(means),
        df=count - 1,
    )


def _resampled(n: int, of: Resampled, *, rng: np.random.Generator, resamples: int) -> NDArray[np.float64]:
    rows = max(1, _BATCH // n)
    return np.concatenate([of(rng.integers(0, n, (min(rows, resamples - done), n))) for done in range(0, resamples, rows)])


def _corrected(replicates: NDArray[np.float64], n: int, of: Resampled, *, level: float) -> tuple[float, float]:
    observed = float(of(np.arange(n)[np.newaxis, :])[0])
    bias = _bias(replicates, observed)
    acceleration = _acceleration(n, of)
    ends = []
    for side in (-1, 1):
        shifted = bias + side * NormalDist().inv_cdf(0.5 + level / 2)
        stretched = 1 - acceleration * shifted
        ends.append(NormalDist().cdf(bias + shifted / stretched) if stretched > 0 else (1 + side) / 2)
    low, high = np.quantile(replicates, ends)
    return float(low), float(high)


def _bias(replicates: NDArray[np.float64], observed: float) -> float:
    """z0; where all resamples lie on one side, as if half of one more lay on the other."""
    count = len(replicates)
    share = float(np.sum(replicates < observed) + np.sum(replicates <= observed)) / (2 * count)
    return NormalDist().inv_cdf(min(max(share, 0.5 / count), 1 - 0.5 / count))


def _acceleration(n: int, of: Resampled) -> float:
    parts = np.array_split(np.arange(n), min(n, _JACKKNIFE))
    left_out = np.array([of(np.delete(np.arange(n), part)[np.newaxis, :])[0] for part in parts])
    away = left_out.mean() - left_out
    spread = float(np.sum(away**2))
    return float(np.sum(away**3)) / (6 * spread**1.5) if spread > 0 else 0.0


def _two_sided(means: NDArray[np.float64]) -> float:
    smaller = min(int(np.sum(means <= 0)), int(np.sum(means >= 0)))
    return min(1.0, 2 * (smaller + 1) / (len(means) + 1))

"""Two runs on the same items: what b has over a, item by item."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from common.stats.distributions import binomial_at, binomial_below, normal_two_sided, t_two_sided
from common.stats.means import finite, mean

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from common.stats.estimate import Estimate

_EXACT_UP_TO = 50  # differences
_DIGITS = 12  # what two scores of two digits differ by in the 17th is how they are stored, not how they were judged


def difference(a: ArrayLike, b: ArrayLike, *, clusters: ArrayLike | None = None, level: float = 0.95) -> Estimate:
    """The mean of the per-item differences **b - a**: above 0 where b scores higher.

    Standard error, interval and degrees of freedom are those of `means.mean` over the differences, p is Student's
    two-sided p-value of "no difference". Differences are rounded to 12 decimals, so that equal ones count as equal.

    n = 0: the mean is None. n = 1, or one cluster: no standard error, interval or p. All differences 0: interval [0, 0],
    p = 1. All equal and not 0: an interval of no width and no p; `mcnemar` and `wilcoxon` have one.

    Source: Miller 2024, https://arxiv.org/abs/2411.00640, section 4.2 (paired differences), section 2.2 (clusters).

    Args:
        a: n finite scores; a pair with an unscored side is left out by the caller, and counted there.
        b: n finite scores, of the same items in the same order.
        clusters: n labels, all strings or all integers.

    Raises:
        ValueError: lengths differ, or a score is not finite.
    """
    estimate = mean(differences(a, b), clusters=clusters, level=level)
    return replace(estimate, p=_p(estimate))


def mcnemar(only_a: int, only_b: int, *, mid_p: bool = False) -> float:
    """Two-sided p-value of "a and b pass equally often", from the items on which they part.

    Exact: if they pass equally often, `only_b` is binomial with ``only_a + only_b`` fair coins, and p is twice the tail of
    the smaller count, at most 1. This never claims too much and somewhat too little; the mid-p variant takes only half
    of the observed count's own chance, keeps the level nearly everywhere and finds more. The exact one is the default,
    since a gate should err on its safe side.

    No item on which they part: 1. As many either way: 1. Fewer than six can never reach 0.05 (exact).

    Source: McNemar 1947, https://doi.org/10.1007/BF02295996; both variants as in Fagerland, Lydersen and Laake 2013,
    https://doi.org/10.1186/1471-2288-13-91, section "The McNemar exact conditional test" and the one after.

    Args:
        only_a: Items that a passes and b does not.
        only_b: Items that b passes and a does not.

    Raises:
        ValueError: a count is below 0.
    """
    if min(only_a, only_b) < 0:
        raise ValueError("counts are at least 0")
    trials, smaller = only_a + only_b, min(only_a, only_b)
    if only_a == only_b:
        return 1.0
    p = 2 * binomial_below(smaller, trials)
    return p - binomial_at(smaller, trials) if mid_p else min(1.0, p)


def wilcoxon(differences: ArrayLike) -> float:
    """Two-sided p-value of "the differences are symmetric about 0", by Wilcoxon's signed ranks.

    Differences of 0 are dropped, as Wilcoxon did; equal sizes share the mean of their ranks. Up to 50 others the p-value is
    exact, also with ties: over all ways to give the ranks their signs. Beyond, it is the normal approximation with the
    variance corrected for ties, and half a rank for continuity.

    It asks about the middle of the differences, not about their mean, and suits scores on a scale of few levels.
    None left (n = 0, or all ties): 1. Fewer than six can never reach 0.05. All equal and not 0: ``2 / 2**n``.

    Source: Wilcoxon 1945, https://doi.org/10.2307/3001968; Pratt and Gibbons 1981, Concepts of Nonparametric Theory,
    https://doi.org/10.1007/978-1-4612-5931-2, chapter 3, sections 2 and 7 (zeros and ties).

    Args:
        differences: n finite numbers, as from `differences`, which takes care that equal ones are equal.

    Raises:
        ValueError: a difference is not finite.
    """
    steps = finite(differences)
    steps = steps[steps != 0]
    if not len(steps):
        return 1.0
    _, numbers, counts = np.unique(np.abs(steps), return_inverse=True, return_counts=True)
    doubled = (2 * np.cumsum(counts) - counts + 1)[numbers]  # twice the mid-ranks, which are whole numbers
    smaller = min(int(doubled[steps > 0].sum()), int(doubled[steps < 0].sum()))
    if len(steps) <= _EXACT_UP_TO:
        return _signs_below(doubled, smaller)
    variance = float(np.sum(doubled.astype(np.float64) ** 2)) / 16
    away = max(0.0, float(doubled.sum()) / 4 - smaller / 2 - 0.5)
    return normal_two_sided(away / float(np.sqrt(variance)))


def differences(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """``b - a``, rounded to 12 decimals. Raises `ValueError` where lengths differ or a score is not finite."""
    left, right = finite(a), finite(b)
    if len(left) != len(right):
        raise ValueError("paired scores must be of the same items")
    return np.round(right - left, _DIGITS)


def _signs_below(doubled: NDArray[np.intp], smaller: int) -> float:
    """Twice the share of the ways to sign the ranks whose positive sum is at most `smaller`; at most 1.

    The ways are counted by sum, one rank after the other; 2**50 of them are whole numbers to a float.
    """
    ways = np.zeros(int(doubled.sum()) + 1)
    ways[0] = 1
    for rank in doubled:
        ways[rank:] += ways[:-rank].copy()
    return min(1.0, 2 * float(ways[: smaller + 1].sum()) / 2.0 ** len(doubled))


def _p(estimate: Estimate) -> float | None:
    if estimate.mean == 0 and estimate.se is not None:
        return 1.0
    if not estimate.mean or not estimate.se or estimate.df is None:
        return None
    return t_two_sided(estimate.mean / estimate.se, estimate.df)

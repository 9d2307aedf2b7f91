"""Two runs on the same items: what b has over a, item by item."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from common.stats.distributions import t_two_sided
from common.stats.means import finite, mean

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from common.stats.estimate import Estimate

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


def differences(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """``b - a``, rounded to 12 decimals. Raises `ValueError` where lengths differ or a score is not finite."""
    left, right = finite(a), finite(b)
    if len(left) != len(right):
        raise ValueError("paired scores must be of the same items")
    return np.round(right - left, _DIGITS)


def _p(estimate: Estimate) -> float | None:
    if estimate.mean == 0 and estimate.se is not None:
        return 1.0
    if not estimate.mean or not estimate.se or estimate.df is None:
        return None
    return t_two_sided(estimate.mean / estimate.se, estimate.df)

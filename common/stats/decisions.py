"""Decisions about a difference: is b better, is it at least not worse, and how many items would settle it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.stats.intervals import t_quantile

if TYPE_CHECKING:
    from common.stats.estimate import Estimate


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

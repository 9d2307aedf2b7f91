"""Many comparisons at once: p-values adjusted so that a chance finding among them stays rare."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def holm(ps: Sequence[float]) -> list[float]:
    """Adjusted p-values that keep the chance of *any* false finding at the level they are read at.

    The i-th smallest of m becomes the largest of ``(m - j + 1) * p_j`` over j <= i, at most 1. Valid under any dependence;
    use it where one wrong claim is too many, as in a gate. m = 0: empty; m = 1: unchanged.

    Source: Holm 1979, https://www.jstor.org/stable/4615733, section 3; adjusted as in Wright 1992,
    https://doi.org/10.2307/2532694, section 2.

    Returns:
        In the order given, none below its raw p-value.

    Raises:
        ValueError: a p-value is not within [0, 1].
    """
    order = _ascending(ps)
    adjusted = [0.0] * len(ps)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[index]))
        adjusted[index] = largest
    return adjusted


def benjamini_hochberg(ps: Sequence[float]) -> list[float]:
    """Adjusted p-values that keep the expected share of false findings among the findings at the level they are read at.

    The i-th smallest of m becomes the smallest of ``m / j * p_j`` over j >= i, at most 1. Valid for independent and for
    positively dependent tests; use it to look through many slices. m = 0: empty; m = 1: unchanged.

    Source: Benjamini and Hochberg 1995, https://doi.org/10.1111/j.2517-6161.1995.tb02031.x, section 3.1.

    Returns:
        In the order given, none below its raw p-value.

    Raises:
        ValueError: a p-value is not within [0, 1].
    """
    order = _ascending(ps)
    adjusted = [0.0] * len(ps)
    smallest = 1.0
    for rank in range(len(ps), 0, -1):
        index = order[rank - 1]
        smallest = min(smallest, len(ps) / rank * ps[index])
        adjusted[index] = smallest
    return adjusted


def _ascending(ps: Sequence[float]) -> list[int]:
    if not all(0 <= p <= 1 for p in ps):
        raise ValueError("a p-value lies within [0, 1]")
    return sorted(range(len(ps)), key=ps.__getitem__)

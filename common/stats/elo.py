"""Elo ratings, one comparison after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from common.stats.rankings import Comparisons


def elo(comparisons: Comparisons, *, start: float = 1000.0, k: float = 4.0, scale: float = 400.0) -> dict[str, float]:
    """Ratings after all comparisons in the order given: a winner gains ``k * weight * (score - expected)``, the other loses it.

    ``expected = 1 / (1 + 10 ** ((rating of the other - own) / scale))``. The order matters: for a set of comparisons that were
    all there at once `bradley_terry` and its `ratings` say more. n = 0: empty. All ties: everybody keeps `start`.

    Source: Elo 1978, The Rating of Chessplayers, chapter 1; with k = 4 as in Chiang et al. 2024,
    https://arxiv.org/abs/2403.04132.
    """
    ratings = [start] * len(comparisons.names)
    columns = (comparisons.left, comparisons.right, comparisons.score, comparisons.weight)
    for left, right, score, weight in zip(*(column.tolist() for column in columns), strict=True):
        behind = min(max((ratings[right] - ratings[left]) / scale, -300.0), 300.0)
        gain = k * weight * (score - 1 / (1 + 10**behind))
        ratings[left] += gain
        ratings[right] -= gain
    return dict(zip(comparisons.names, ratings, strict=True))

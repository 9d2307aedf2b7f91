"""Who wins? Comparisons of pairs, and the counts and rates that need no model."""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from common.stats.clusters import numbered, standard_error
from common.stats.estimate import Estimate
from common.stats.intervals import t_quantile
from common.stats.means import finite, mean

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import ArrayLike, NDArray


class Comparison(NamedTuple):
    """One verdict on two contestants.

    ``score`` is the left one's: 1 it won, 0.5 a draw, 0 it lost, or any preference between; None for no verdict. ``weight`` is
    how often the row counts. ``cluster`` names what it hangs together with. ``length_difference`` is the left output's length
    less the right one's, in any unit.
    """

    left: str
    right: str
    score: float | None
    weight: float = 1.0
    cluster: str | None = None
    length_difference: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Comparisons:
    """Comparisons by column, null verdicts left out.

    Attributes:
        names: The contestants, in order of first appearance.
        left, right: n numbers of contestants.
        score: n scores of the left one, within [0, 1].
        weight: n weights.
        clusters: n numbers of clusters; None if no row has one.
        length_difference: n differences, NaN where a row has none.
        dropped: Rows without a verdict.
    """

    names: tuple[str, ...]
    left: NDArray[np.intp]
    right: NDArray[np.intp]
    score: NDArray[np.float64]
    weight: NDArray[np.float64]
    clusters: NDArray[np.intp] | None
    length_difference: NDArray[np.float64]
    dropped: int

    @classmethod
    def of(cls, rows: Iterable[Comparison]) -> Comparisons:
        """Read rows one by one, keeping some 60 bytes of each. A row without a cluster, among others with, is one of its own.

        Raises:
            ValueError: a contestant meets itself, a score lies outside [0, 1], or a weight is below 0 or not finite.
        """
        columns = _Columns()
        for row in rows:
            columns.add(row)
        return cls(
            names=tuple(columns.names),
            left=np.array(columns.left, dtype=np.intp),
            right=np.array(columns.right, dtype=np.intp),
            score=np.array(columns.score, dtype=np.float64),
            weight=np.array(columns.weight, dtype=np.float64),
            clusters=np.unique(columns.cluster, return_inverse=True)[1] if columns.clusters else None,
            length_difference=np.array(columns.length_difference, dtype=np.float64),
            dropped=columns.dropped,
        )

    def __len__(self) -> int:
        """How many have a verdict."""
        return len(self.score)

    def wins(self, times: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """n_names x n_names: how often, by weight, the row's contestant won against the column's, a draw being half a win.

        Args:
            times: How often each row counts beyond its weight, for resampling.
        """
        count = len(self.names)
        weight = self.weight if times is None else self.weight * times
        forward = np.bincount(self.left * count + self.right, weights=weight * self.score, minlength=count**2)
        backward = np.bincount(self.right * count + self.left, weights=weight * (1 - self.score), minlength=count**2)
        return np.asarray(forward + backward, dtype=np.float64).reshape(count, count)


class _Columns:
    def __init__(self) -> None:
        self.names: dict[str, int] = {}
        self.clusters: dict[str, int] = {}
        self.left, self.right, self.cluster = array("q"), array("q"), array("q")
        self.score, self.weight, self.length_difference = array("d"), array("d"), array("d")
        self.dropped = 0

    def add(self, row: Comparison) -> None:
        if row.left == row.right:
            raise ValueError("a contestant cannot be compared with itself")
        if row.score is None:
            self.dropped += 1
            return
        if not (0 <= row.score <= 1 and 0 <= row.weight < math.inf):
            raise ValueError("a score lies within [0, 1], and a weight is a number from 0 up")
        self.left.append(self.names.setdefault(row.left, len(self.names)))
        self.right.append(self.names.setdefault(row.right, len(self.names)))
        self.score.append(row.score)
        self.weight.append(row.weight)
        self.length_difference.append(math.nan if row.length_difference is None else row.length_difference)
        alone = -1 - len(self.cluster)
        self.cluster.append(alone if row.cluster is None else self.clusters.setdefault(row.cluster, len(self.clusters)))


def counting(comparisons: Comparisons) -> dict[str, float]:
    """Wins by contestant, a draw being half a win for each, times the weights. n = 0: empty."""
    return dict(zip(comparisons.names, map(float, comparisons.wins().sum(axis=1)), strict=True))


def average_win_rate(comparisons: Comparisons) -> dict[str, float | None]:
    """The mean, over the opponents that a contestant met, of its share of wins against each: all opponents count alike.

    None for a contestant whose comparisons all have weight 0. n = 0: empty. All ties: 0.5 for everybody.

    Source: Ustalov 2025, "Reliable, Reproducible, and Really Fast Leaderboards with Evalica",
    https://aclanthology.org/2025.coling-demos.6, and its `average_win_rate`.
    """
    wins = comparisons.wins()
    met = wins + wins.T
    shares = np.divide(wins, met, out=np.zeros_like(wins), where=met > 0)
    opponents = np.count_nonzero(met, axis=1)
    totals = shares.sum(axis=1)
    return {name: float(totals[i] / opponents[i]) if opponents[i] else None for i, name in enumerate(comparisons.names)}


def win_rates(comparisons: Comparisons, *, level: float = 0.95) -> dict[str, Estimate]:
    """`win_rate` of each contestant over all comparisons it took part in, by cluster where the rows have clusters."""
    rows = np.arange(len(comparisons))
    who = np.concatenate([comparisons.left, comparisons.right])
    order = np.argsort(who, kind="stable")
    row = np.concatenate([rows, rows])[order]
    score = np.concatenate([comparisons.score, 1 - comparisons.score])[order]
    ends = np.cumsum(np.bincount(who, minlength=len(comparisons.names)))
    parts = [slice(start, end) for start, end in zip([0, *ends[:-1]], ends, strict=True)] if len(ends) else []
    clusters = comparisons.clusters
    return {
        name: win_rate(
            score[part],
            weights=comparisons.weight[row[part]],
            clusters=None if clusters is None else clusters[row[part]],
            level=level,
        )
        for name, part in zip(comparisons.names, parts, strict=True)
    }


def win_rate(
    scores: ArrayLike, *, weights: ArrayLike | None = None, clusters: ArrayLike | None = None, level: float = 0.95
) -> Estimate:
    """The mean score of one contestant: win 1, draw 0.5, loss 0, or any preference between.

    The standard error is ``sqrt(variance / n)``, with n - 1 in the variance; by cluster it is ``sqrt(Σ over clusters of
    (Σ residuals)²) / n``, see `clusters.standard_error`. With weights w the mean is ``Σ w s / Σ w``, and the residuals
    ``w (s - mean)`` are over ``Σ w`` instead of n. The interval is Student's and is not cut to [0, 1].

    n = 0, or weights that sum to 0: the mean is None. n = 1, or one cluster: no standard error. All equal, so all ties too:
    standard error 0.

    Source: as `means.mean`; the weighted form is that of a ratio, Cochran 1977, Sampling Techniques, 3rd edition, section 6.4.

    Args:
        scores: n numbers within [0, 1]; null verdicts are left out by the caller, and counted there.
        weights: n numbers from 0 up.
        clusters: n labels, all strings or all integers.

    Raises:
        ValueError: as `means.mean`.
    """
    values = finite(scores)
    weight = np.ones_like(values) if weights is None else finite(weights)
    if len(weight) == 0 or weight.min() == weight.max() > 0:
        return mean(values, clusters=clusters, level=level)
    total = float(weight.sum())
    if total <= 0:
        return Estimate(n=len(values), mean=None, se=None, interval=None)
    centre = float(weight @ values) / total
    residuals = weight * (values - centre) * (len(values) / total)
    numbers, count = (np.arange(len(values)), len(values)) if clusters is None else numbered(clusters, len(values))
    se = standard_error(residuals, numbers, count)
    if se is None:
        return Estimate(n=len(values), mean=centre, se=None, interval=None)
    if clusters is None:
        se *= math.sqrt(count / (count - 1))
    half = t_quantile(level, count - 1) * se
    return Estimate(n=len(values), mean=centre, se=se, interval=(centre - half, centre + half), df=count - 1)

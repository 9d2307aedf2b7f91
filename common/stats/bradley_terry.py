"""Strengths from comparisons: the Bradley-Terry model by maximum likelihood."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from common.stats.rankings import Comparisons

Reason = Literal["no_comparisons", "not_connected", "separated", "no_convergence"]
ELO_START, ELO_SCALE = 1000.0, 400.0
_ROUNDS = 200
_STEP = 1e-11  # of the logarithm of a strength
_UNFIT_MOST = 0.05


@dataclass(frozen=True, slots=True)
class BradleyTerry:
    """A fitted model.

    Attributes:
        strengths: By contestant, summing to 1: ``strength_i / (strength_i + strength_j)`` is the chance that i beats j. None
            where there is no finite maximum, and `reason` says why.
        reason: ``not_connected``: some were never compared with the others, even by way of third ones. ``separated``: some
            never lost, nor drew, against any of the others, so that they are better by no finite factor.
        groups: Where there is no fit, those that can be compared among each other: each beats each, directly or by way of
            others. Groups that beat all of another stand before it.
    """

    strengths: dict[str, float] | None
    reason: Reason | None = None
    groups: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """Intervals of strengths and of ratings, by contestant; ``unfit`` of the ``resamples`` had no finite maximum."""

    resamples: int
    unfit: int
    strengths: dict[str, tuple[float, float]] | None
    ratings: dict[str, tuple[float, float]] | None


def bradley_terry(comparisons: Comparisons, *, prior: float = 0.0) -> BradleyTerry:
    """The strengths that make the comparisons most likely: P(i beats j) = ``s_i / (s_i + s_j)``.

    A draw is half a win for each, a preference between 0 and 1 counts by its share, a weight is a number of comparisons. There
    is a finite maximum exactly where, for every split into two sides, each side won something against the other.

    n = 0: ``no_comparisons``. All ties: equal strengths. One comparison, won: ``separated``.

    Source: Bradley and Terry 1952, https://doi.org/10.1093/biomet/39.3-4.324; existence: Ford 1957,
    https://doi.org/10.1080/00029890.1957.11989117; Hunter 2004, https://doi.org/10.1214/aos/1079120141, section 2,
    assumption 1. Solved by Newton's method, which finds the same maximum as Hunter's MM in fewer rounds.

    Args:
        prior: Draws added between every two contestants. Above 0 there always is a finite maximum, drawn a little towards
            equal strengths.
    """
    wins = comparisons.wins()
    if not len(comparisons) or not wins.any():
        return BradleyTerry(None, "no_comparisons")
    wins = _with_prior(wins, prior)
    if not strongly_connected(wins):
        reason: Reason = "separated" if strongly_connected(wins + wins.T) else "not_connected"
        return BradleyTerry(None, reason, _named_groups(wins, comparisons.names))
    logs = log_strengths(wins)
    if logs is None:
        return BradleyTerry(None, "no_convergence")
    return BradleyTerry(dict(zip(comparisons.names, map(float, shares(logs)), strict=True)))


def bootstrap(
    comparisons: Comparisons,
    *,
    rng: np.random.Generator,
    resamples: int = 500,
    level: float = 0.95,
    prior: float = 0.0,
) -> Bootstrap:
    """Percentile intervals: the model is fitted again to comparisons, or whole clusters, drawn with replacement.

    A resample without a finite maximum is left out and counted; above 5 % of them there are no intervals, for what is left
    would be a selection. n = 0, or one comparison or cluster: none either. `prior` is that of `bradley_terry`.

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13; for such ratings Chiang et al. 2024,
    https://arxiv.org/abs/2403.04132, sections 4 and 5.
    """
    units = np.arange(len(comparisons)) if comparisons.clusters is None else comparisons.clusters
    count = int(units.max()) + 1 if len(units) else 0
    fits = []
    for _ in range(resamples if count > 1 else 0):
        times = np.bincount(rng.integers(0, count, count), minlength=count)[units]
        wins = _with_prior(comparisons.wins(times.astype(np.float64)), prior)
        fit = log_strengths(wins) if strongly_connected(wins) else None
        if fit is not None:
            fits.append(fit)
    unfit = resamples - len(fits)
    if not fits or unfit > _UNFIT_MOST * resamples:
        return Bootstrap(resamples, unfit, None, None)
    logs = np.array(fits)
    return Bootstrap(
        resamples,
        unfit,
        _intervals(np.apply_along_axis(shares, 1, logs), comparisons.names, level=level),
        _intervals(_ratings(logs), comparisons.names, level=level),
    )


def ratings(strengths: dict[str, float]) -> dict[str, float]:
    """Strengths on the Elo scale: ``1000 + 400 * log10(strength / geometric mean of all)``.

    400 points are odds of 10 to 1, and the mean rating is 1000.
    """
    logs = np.log(np.array(list(strengths.values()), dtype=np.float64))
    return dict(zip(strengths, map(float, _ratings(logs - logs.mean())), strict=True)) if strengths else {}


def log_strengths(wins: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Natural logarithms of the strengths, their mean 0; None if the search does not settle.

    Args:
        wins: n x n, strongly connected (`strongly_connected`).
    """
    wins = wins / wins.sum()
    met, won = wins + wins.T, wins.sum(axis=1)
    logs = np.zeros(len(wins))
    for _ in range(_ROUNDS):
        chance = 1 / (1 + np.exp(logs[None, :] - logs[:, None]))
        curvature = met * chance * chance.T
        hessian = np.diag(curvature.sum(axis=1)) - curvature + curvature.mean()
        try:
            step = np.linalg.solve(hessian, won - (met * chance).sum(axis=1))
        except np.linalg.LinAlgError:
            return None
        step = _climbing(logs, step, wins)
        logs = logs + step - step.mean()
        if np.abs(step).max() < _STEP:
            return np.asarray(logs, dtype=np.float64)
    return None


def strongly_connected(wins: NDArray[np.float64]) -> bool:
    """Whether everybody beat everybody, directly or by way of others."""
    beats = wins > 0
    return bool(_reached(beats).all() and _reached(beats.T).all())


def shares(logs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Strengths from their logarithms, summing to 1."""
    raised = np.exp(logs - logs.max())
    return np.asarray(raised / raised.sum(), dtype=np.float64)


def _with_prior(wins: NDArray[np.float64], prior: float) -> NDArray[np.float64]:
    return wins + prior / 2 * (1 - np.eye(len(wins)))


def _climbing(logs: NDArray[np.float64], step: NDArray[np.float64], wins: NDArray[np.float64]) -> NDArray[np.float64]:
    """`step`, halved until the likelihood does not fall; a step too small to tell is taken whole."""
    before = _log_likelihood(logs, wins)
    while np.abs(step).max() > 1e-6 and not _log_likelihood(logs + step, wins) >= before:  # noqa: PLR2004
        step = step / 2
    return step


def _log_likelihood(logs: NDArray[np.float64], wins: NDArray[np.float64]) -> float:
    return -float(np.sum(wins * np.logaddexp(0, logs[None, :] - logs[:, None])))


def _reached(beats: NDArray[np.bool_]) -> NDArray[np.bool_]:
    seen = np.zeros(len(beats), dtype=np.bool_)
    seen[:1] = True
    newest = seen
    while newest.any():
        newest = beats[newest].any(axis=0) & ~seen
        seen = seen | newest
    return seen


def _named_groups(wins: NDArray[np.float64], names: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """Strongly connected components, those that reach most first."""
    reach = (wins > 0) | np.eye(len(wins), dtype=np.bool_)
    for _ in range(math.ceil(math.log2(len(wins))) if len(wins) > 1 else 0):
        reach = reach.astype(np.float32) @ reach.astype(np.float32) > 0
    first_member = np.argmax(reach & reach.T, axis=1)
    groups = {leader: np.flatnonzero(first_member == leader) for leader in np.unique(first_member)}
    ordered = sorted(groups, key=lambda leader: (-int(reach[leader].sum()), leader))
    return tuple(tuple(names[member] for member in groups[leader]) for leader in ordered)


def _ratings(logs: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(ELO_START + ELO_SCALE * logs / math.log(10), dtype=np.float64)


def _intervals(rows: NDArray[np.float64], names: tuple[str, ...], *, level: float) -> dict[str, tuple[float, float]]:
    low, high = np.quantile(rows, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return {name: (float(low[i]), float(high[i])) for i, name in enumerate(names)}

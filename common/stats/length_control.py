"""Strengths as they would be if all outputs were equally long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from common.stats import bradley_terry

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from common.stats.rankings import Comparisons

Reason = Literal["lengths_missing", "equal_lengths"] | bradley_terry.Reason
_ROUNDS = 200
_STEP = 1e-10
_LARGEST = 30.0  # log odds beyond which a fit only runs away


@dataclass(frozen=True, slots=True)
class LengthControlled:
    """Bradley-Terry strengths beside a coefficient for length.

    Attributes:
        strengths: As in `BradleyTerry`, at equal lengths; None where there is no finite maximum, and `reason` says why.
        coefficient: Log odds of winning for an output that is much longer than the other (covariate 1); above 0: the judge
            likes length.
        se: Its standard error, from the observed information; it takes the comparisons for independent.
    """

    strengths: dict[str, float] | None
    coefficient: float | None = None
    se: float | None = None
    reason: Reason | None = None


def length_controlled(comparisons: Comparisons) -> LengthControlled:
    """Logistic regression of the score on who is compared and on ``x = tanh(difference / s)``, maximum likelihood.

    P(left beats right) = ``1 / (1 + exp(-(log s_left - log s_right + coefficient * x)))``; s is the standard deviation of
    the differences in length (n - 1). Where it is 0 the coefficient has no meaning: ``equal_lengths``. Where length, or length
    and contestant together, tell every verdict, there is no finite maximum: ``separated``.

    Source: Dubois et al. 2024, "Length-Controlled AlpacaEval", https://arxiv.org/abs/2404.04475, section 3, equation (2),
    without its term for how hard each instruction is; the same covariate in a Bradley-Terry model as in
    https://blog.lmarena.ai/blog/2024/style-control/.
    """
    plain = bradley_terry.bradley_terry(comparisons)
    if plain.strengths is None:
        return LengthControlled(None, reason=plain.reason)
    difference = comparisons.length_difference
    if np.isnan(difference).any():
        return LengthControlled(None, reason="lengths_missing")
    spread = float(np.std(difference, ddof=1)) if len(difference) > 1 else 0.0
    if not np.isfinite(spread) or spread == 0:
        return LengthControlled(None, reason="equal_lengths")
    found = _fit(comparisons, np.tanh(difference / spread))
    if found is None:
        return LengthControlled(None, reason="separated")
    logs, coefficient, se = found
    strengths = bradley_terry.shares(logs)
    return LengthControlled(dict(zip(comparisons.names, map(float, strengths), strict=True)), coefficient, se)


def _fit(comparisons: Comparisons, covariate: NDArray[np.float64]) -> tuple[NDArray[np.float64], float, float] | None:
    """Newton's method over the logarithms of the strengths and, last, the coefficient."""
    values = np.zeros(len(comparisons.names) + 1)
    for _ in range(_ROUNDS):
        gradient, hessian = _slopes(comparisons, covariate, values)
        try:
            step = np.linalg.solve(hessian, gradient)
        except np.linalg.LinAlgError:
            return None
        before = _log_likelihood(comparisons, covariate, values)
        while np.abs(step).max() > 1e-6 and not _log_likelihood(comparisons, covariate, values + step) >= before:  # noqa: PLR2004
            step = step / 2
        values = values + step
        if np.abs(values).max() > _LARGEST:
            return None
        if np.abs(step).max() < _STEP:
            return values[:-1], float(values[-1]), float(np.sqrt(np.linalg.inv(hessian)[-1, -1]))
    return None


def _log_odds(comparisons: Comparisons, covariate: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(values[comparisons.left] - values[comparisons.right] + values[-1] * covariate, dtype=np.float64)


def _log_likelihood(comparisons: Comparisons, covariate: NDArray[np.float64], values: NDArray[np.float64]) -> float:
    odds = _log_odds(comparisons, covariate, values)
    return -float(np.sum(comparisons.weight * (np.logaddexp(0, odds) - comparisons.score * odds)))


def _slopes(
    comparisons: Comparisons, covariate: NDArray[np.float64], values: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Gradient and negative Hessian; strengths are pinned to a mean logarithm of 0."""
    count, left, right = len(comparisons.names), comparisons.left, comparisons.right
    chance = 1 / (1 + np.exp(-_log_odds(comparisons, covariate, values)))
    surplus = comparisons.weight * (comparisons.score - chance)
    curvature = comparisons.weight * chance * (1 - chance)

    def by_name(rows: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.bincount(left, rows, count) - np.bincount(right, rows, count), dtype=np.float64)

    met = np.bincount(left * count + right, curvature, count**2).reshape(count, count)
    met = met + met.T
    hessian = np.empty((count + 1, count + 1))
    hessian[:-1, :-1] = np.diag(met.sum(axis=1)) - met + met.mean()
    hessian[:-1, -1] = hessian[-1, :-1] = by_name(curvature * covariate)
    hessian[-1, -1] = np.sum(curvature * covariate**2)
    return np.append(by_name(surplus), np.sum(surplus * covariate)), hessian

"""Do judges say the same? Accuracy, kappa and alpha."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np

from common.stats.coefficient import Coefficient, normal_quantile
from common.stats.means import proportion

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from common.stats.estimate import Estimate

Weights = Literal["linear", "quadratic"]
Metric = Literal["nominal", "ordinal", "interval", "ratio"]
MAX_CATEGORIES = 500
MAX_RATIO_VALUES = 2000
_NOISE = 1e-12  # what rounding leaves of a spread of 0
_CHUNK = 256  # rows of the table of all pairs of values that are in memory at a time


def accuracy(a: ArrayLike, b: ArrayLike, *, level: float = 0.95) -> Estimate:
    """The share of items where both say the same, with Wilson's interval (`means.proportion`).

    n = 0: the share is None. It says nothing about chance: two judges that pass 95 % of everything agree on 90 % of it.

    Args:
        a: n labels, all strings or all numbers.
        b: n labels of the same kind.

    Raises:
        ValueError: the labels are not as many, or a number is not finite.
    """
    first, second = _paired(a, b)
    return proportion(first == second, level=level)


def cohen_kappa(a: ArrayLike, b: ArrayLike, *, weights: Weights | None = None, level: float = 0.95) -> Coefficient:
    """Cohen's kappa ``(p_o - p_e) / (1 - p_e)``: agreement of two judges beyond that of their marginal shares.

    With weights, disagreement between the categories v and w counts ``|v - w|`` (linear) or ``(v - w)**2`` (quadratic), each
    over its largest possible value; v and w are the numbers themselves, so that a level nobody used keeps its distance.

    The standard error is that for large n, of items drawn independently; the interval is ``kappa ± z * se`` and is not cut.
    n = 0: undefined. Both always say one and the same thing: undefined, for chance alone agrees as well. One judge always says
    the same, or one item that they disagree on: 0, without an interval. Full agreement on more than one category: 1, without
    an interval.

    Source: Cohen 1960, https://doi.org/10.1177/001316446002000104, and 1968, https://doi.org/10.1037/h0026256; standard error
    of Fleiss, Cohen and Everitt 1969, https://doi.org/10.1037/h0028106, equation (8) and for weights (14).

    Args:
        a: n labels of one judge.
        b: n labels of the other, in the same order; with weights both are numbers.

    Raises:
        ValueError: as `accuracy`, or there are more than `MAX_CATEGORIES` labels.
    """
    first, second = _paired(a, b)
    n = len(first)
    values, codes = np.unique(np.concatenate([first, second]), return_inverse=True)
    if len(values) > MAX_CATEGORIES:
        raise ValueError(f"more than {MAX_CATEGORIES} categories")
    if n == 0 or len(values) == 1:
        return Coefficient(n, None)
    cells = np.bincount(codes[:n] * len(values) + codes[n:], minlength=len(values) ** 2)
    return _kappa(cells.reshape(len(values), -1) / n, _credit(values, weights), n=n, level=level)


def krippendorff_alpha(ratings: ArrayLike, *, metric: Metric = "nominal") -> Coefficient:
    """Krippendorff's alpha ``1 - D_o / D_e`` over any number of judges with any values missing.

    D_o is the mean disagreement between values of the same unit, D_e that between all values that can be paired (those of
    units with at least two). Disagreement is by `metric`: nominal ``v != w``; interval ``(v - w)**2``; ratio
    ``((v - w) / (v + w))**2``; ordinal the interval metric over the values' mean ranks among all that can be paired, which is
    its usual form written shorter.

    Undefined (None): no values can be paired, or all that can are equal, so that nothing tells agreement from chance. 1 is
    full agreement, 0 that of chance, below 0 worse than that. ``n`` counts the values that can be paired. No interval.

    Source: Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", https://repository.upenn.edu/asc_papers/43,
    sections C to E.

    Args:
        ratings: n_judges x n_units numbers, NaN where a judge did not rate.

    Raises:
        ValueError: not a table, or as `alpha_of`.
    """
    table = np.asarray(ratings, dtype=np.float64)
    if table.ndim != 2:  # noqa: PLR2004  # judges by units
        raise ValueError("ratings must be a table of judges by units")
    _, units = np.nonzero(~np.isnan(table))
    return alpha_of(units, table[~np.isnan(table)], metric=metric)


def alpha_of(units: ArrayLike, values: ArrayLike, *, metric: Metric = "nominal") -> Coefficient:
    """The same for values listed one by one, in any order, whoever gave them.

    Args:
        units: For each value the number of its unit, from 0.
        values: Finite numbers; codes where the metric is nominal.

    Raises:
        ValueError: a value is not finite; for the ratio metric also a value below 0, or more than `MAX_RATIO_VALUES` distinct.
    """
    unit, value = np.asarray(units, dtype=np.intp), np.asarray(values, dtype=np.float64)
    if unit.shape != value.shape or not np.isfinite(value).all():
        raise ValueError("every value must be finite and have a unit")
    pairable = np.bincount(unit)[unit] > 1
    unit, value = np.unique(unit[pairable], return_inverse=True)[1], value[pairable]
    n = len(value)
    if n == 0 or value.min() == value.max():
        return Coefficient(n, None)
    if metric == "nominal":
        observed, expected = _nominal(unit, value)
    elif metric == "ratio":
        observed, expected = _ratio(unit, value)
    else:
        observed, expected = _squares(unit, _ranks(value) if metric == "ordinal" else value)
    return Coefficient(n, 1 - (n - 1) * observed / expected)


def _paired(a: ArrayLike, b: ArrayLike) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    first, second = np.asarray(a), np.asarray(b)
    if first.ndim != 1 or first.shape != second.shape:
        raise ValueError("both judges must have the same number of labels")
    for labels in (first, second):
        if labels.dtype.kind == "f" and not np.isfinite(labels).all():
            raise ValueError("labels must be finite; leave missing ones out")
    return first, second


def _credit(values: NDArray[np.generic], weights: Weights | None) -> NDArray[np.float64]:
    """1 on the diagonal, falling to 0 for the two values that are furthest apart."""
    if weights is None:
        return np.eye(len(values))
    numbers = values.astype(np.float64)
    apart = np.abs(numbers[:, None] - numbers[None, :]) / (numbers[-1] - numbers[0])
    return np.asarray(1 - (apart if weights == "linear" else apart**2), dtype=np.float64)


def _kappa(shares: NDArray[np.float64], credit: NDArray[np.float64], *, n: int, level: float) -> Coefficient:
    rows, columns = shares.sum(axis=1), shares.sum(axis=0)
    observed, expected = float(np.sum(shares * credit)), float(rows @ credit @ columns)
    if math.isclose(expected, 1):
        return Coefficient(n, None)
    kappa = (observed - expected) / (1 - expected)
    if math.isclose(kappa, 1, abs_tol=1e-12):
        return Coefficient(n, 1.0)
    mean_credit = (credit @ columns)[:, None] + (credit.T @ rows)[None, :]
    spread = np.sum(shares * (credit - mean_credit * (1 - kappa)) ** 2) - (kappa - expected * (1 - kappa)) ** 2
    se = math.sqrt((float(spread) if spread > _NOISE else 0.0) / n) / (1 - expected)
    half = normal_quantile(level) * se
    return Coefficient(n, kappa, se, (kappa - half, kappa + half) if se > 0 else None)


def _nominal(unit: NDArray[np.intp], value: NDArray[np.float64]) -> tuple[float, float]:
    """Disagreement, within units and overall, as sums over ordered pairs; within a unit of m values each counts 1 / (m - 1)."""
    _, codes = np.unique(value, return_inverse=True)
    kinds = int(codes.max()) + 1
    cells, counts = np.unique(unit * kinds + codes, return_counts=True)
    sizes = np.bincount(unit)
    same = np.bincount(cells // kinds, weights=counts.astype(np.float64) ** 2)
    observed = np.sum((sizes.astype(np.float64) ** 2 - same) / (sizes - 1))
    return float(observed), float(len(value) ** 2 - np.sum(np.bincount(codes).astype(np.float64) ** 2))


def _squares(unit: NDArray[np.intp], value: NDArray[np.float64]) -> tuple[float, float]:
    """The same for squared differences: twice m times the squared distances from the mean."""
    sizes = np.bincount(unit)
    within = value - (np.bincount(unit, weights=value) / sizes)[unit]
    observed = np.sum(2 * sizes * np.bincount(unit, weights=within**2) / (sizes - 1))
    return float(observed), float(2 * len(value) * np.sum((value - value.mean()) ** 2))


def _ranks(value: NDArray[np.float64]) -> NDArray[np.float64]:
    _, codes, counts = np.unique(value, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - counts / 2)[codes], dtype=np.float64)


def _ratio(unit: NDArray[np.intp], value: NDArray[np.float64]) -> tuple[float, float]:
    """The same for relative differences, over the distinct values of each unit and of all."""
    if value.min() < 0:
        raise ValueError("the ratio metric needs values from 0 up")
    distinct, codes, counts = np.unique(value, return_inverse=True, return_counts=True)
    if len(distinct) > MAX_RATIO_VALUES:
        raise ValueError(f"the ratio metric takes at most {MAX_RATIO_VALUES} distinct values")
    expected = 0.0
    for start in range(0, len(distinct), _CHUNK):
        part = slice(start, start + _CHUNK)
        expected += float(counts[part] @ _relative(distinct[part, None], distinct[None, :]) @ counts)
    cells, times = np.unique(unit * len(distinct) + codes, return_counts=True)
    return _ratio_within(cells // len(distinct), distinct[cells % len(distinct)], times, np.bincount(unit)), expected


def _ratio_within(
    unit: NDArray[np.intp], value: NDArray[np.float64], times: NDArray[np.intp], sizes: NDArray[np.intp]
) -> float:
    """Neighbours at a growing distance, as long as any two are of the same unit."""
    total = 0.0
    for gap in range(1, len(unit)):
        same = unit[gap:] == unit[:-gap]
        if not same.any():
            break
        left, right = np.flatnonzero(same), np.flatnonzero(same) + gap
        pairs = times[left] * times[right] * _relative(value[left], value[right])
        total += float(np.sum(2 * pairs / (sizes[unit[left]] - 1)))
    return total


def _relative(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    total = a + b
    return np.square(np.divide(a - b, total, out=np.zeros_like(total), where=total > 0))

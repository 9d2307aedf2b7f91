"""Do two rows of numbers rise together? Pearson, Spearman, Kendall."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from common.stats.coefficient import Coefficient, normal_quantile

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_PEARSON_LEAST, _KENDALL_LEAST = 4, 5  # pairs from which the interval's formula has a variance


def pearson(a: ArrayLike, b: ArrayLike, *, level: float = 0.95) -> Coefficient:
    """Pearson's r ``Σ (a - mean a)(b - mean b) / sqrt(Σ (a - mean a)² Σ (b - mean b)²)``: how well a line fits.

    The interval is Fisher's: ``tanh(atanh r ± z / sqrt(n - 3))``, for pairs from a normal distribution, from n = 4.
    n < 2, or all values of a side equal: undefined. r = 1 or -1: no interval.

    Source: Fisher 1921, "On the 'probable error' of a coefficient of correlation", Metron 1, https://hdl.handle.net/2440/15169;
    Bonett and Wright 2000, https://doi.org/10.1007/BF02294183, equation (1).

    Args:
        a: n finite numbers.
        b: n finite numbers, in the same order.

    Raises:
        ValueError: they are not as many, or not finite.
    """
    first, second = _paired(a, b)
    n, r = len(first), _product_moment(first, second)
    return _with_interval(n, r, variance=1 / (n - 3) if n >= _PEARSON_LEAST else None, level=level)


def spearman(a: ArrayLike, b: ArrayLike, *, level: float = 0.95) -> Coefficient:
    """Spearman's rho: Pearson's r of the ranks, equal values sharing their mean rank.

    The interval is ``tanh(atanh r ± z * sqrt((1 + r² / 2) / (n - 3)))``, from n = 4. Edges as `pearson`.

    Source: Spearman 1904, https://doi.org/10.2307/1412159; Bonett and Wright 2000, https://doi.org/10.1007/BF02294183,
    equation (3) and the variance recommended below it.

    Raises:
        ValueError: as `pearson`.
    """
    first, second = _paired(a, b)
    n, r = len(first), _product_moment(_mean_ranks(first), _mean_ranks(second))
    variance = (1 + r * r / 2) / (n - 3) if r is not None and n >= _PEARSON_LEAST else None
    return _with_interval(n, r, variance=variance, level=level)


def kendall_tau_b(a: ArrayLike, b: ArrayLike, *, level: float = 0.95) -> Coefficient:
    """Kendall's tau-b ``(concordant - discordant) / sqrt((pairs - tied in a)(pairs - tied in b))``, in O(n log n).

    The interval is ``tanh(atanh tau ± z * sqrt(0.437 / (n - 4)))``, from n = 5; it is rough where many values are tied.
    n < 2, or all values of a side tied: undefined. tau = 1 or -1: no interval.

    Source: Kendall 1945, https://doi.org/10.1093/biomet/33.3.239; counting by sorting as Knight 1966,
    https://doi.org/10.1080/01621459.1966.10480879; the variance of Fieller, Hartley and Pearson 1957,
    https://doi.org/10.1093/biomet/44.3-4.470, as in Bonett and Wright 2000, https://doi.org/10.1007/BF02294183, equation (4).

    Raises:
        ValueError: as `pearson`.
    """
    first, second = _paired(a, b)
    n = len(first)
    tau = _tau_b(_codes(first), _codes(second))
    return _with_interval(n, tau, variance=0.437 / (n - 4) if n >= _KENDALL_LEAST else None, level=level)


def _paired(a: ArrayLike, b: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.ndim != 1 or first.shape != second.shape:
        raise ValueError("both sides must have the same number of values")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("values must be finite; leave pairs with a missing one out")
    return first, second


def _with_interval(n: int, value: float | None, *, variance: float | None, level: float) -> Coefficient:
    if value is None or variance is None or abs(value) == 1:
        return Coefficient(n, value)
    centre, half = math.atanh(value), normal_quantile(level) * math.sqrt(variance)
    return Coefficient(n, value, None, (math.tanh(centre - half), math.tanh(centre + half)))


def _product_moment(a: NDArray[np.float64], b: NDArray[np.float64]) -> float | None:
    """Each side is scaled first, so that no square over- or underflows."""
    if len(a) == 0 or a.min() == a.max() or b.min() == b.max():
        return None
    first, second = _unit(a), _unit(b)
    r = min(1.0, max(-1.0, float(first @ second)))
    return math.copysign(1.0, r) if math.isclose(abs(r), 1, abs_tol=1e-15) else r


def _unit(values: NDArray[np.float64]) -> NDArray[np.float64]:
    scaled = values / np.abs(values).max()
    centred = scaled - scaled.mean()
    centred /= np.abs(centred).max()
    return np.asarray(centred / np.sqrt(centred @ centred), dtype=np.float64)


def _codes(values: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.unique(values, return_inverse=True)[1].astype(np.int64)


def _mean_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    _, codes, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[codes], dtype=np.float64)


def _tau_b(a: NDArray[np.int64], b: NDArray[np.int64]) -> float | None:
    n = len(a)
    if n == 0 or not a.max() or not b.max():
        return None
    both = a * (int(b.max()) + 1) + b
    pairs, tied_a, tied_b = n * (n - 1) // 2, _tied(a), _tied(b)
    discordant = _inversions(b[np.argsort(both, kind="stable")])
    surplus = pairs - tied_a - tied_b + _tied(both) - 2 * discordant
    untied_a, untied_b = pairs - tied_a, pairs - tied_b
    if surplus * surplus == untied_a * untied_b:
        return math.copysign(1.0, surplus)
    return surplus / math.sqrt(untied_a) / math.sqrt(untied_b)


def _tied(codes: NDArray[np.int64]) -> int:
    counts = np.unique(codes, return_counts=True)[1].astype(np.int64)
    return int(np.sum(counts * (counts - 1) // 2))


def _inversions(codes: NDArray[np.int64]) -> int:
    """Pairs in which the larger comes first, counted bit by bit.

    Two codes differ first at one bit, below a common prefix. Sorted stably by prefix, those pairs stand in one group, and
    are inverted where the one with the bit set comes before the one without.
    """
    total = 0
    for bit in reversed(range(int(codes.max()).bit_length())):
        prefix = codes >> (bit + 1)
        order = np.argsort(prefix, kind="stable")
        prefix, is_set = prefix[order], (codes[order] >> bit) & 1
        before = np.cumsum(is_set) - is_set
        starts = np.searchsorted(prefix, prefix, side="left")
        total += int(np.sum((before - before[starts])[is_set == 0]))
    return total

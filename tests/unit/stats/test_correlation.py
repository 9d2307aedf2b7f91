from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from common.stats.correlation import kendall_tau_b, pearson, spearman

if TYPE_CHECKING:
    from collections.abc import Callable

    from common.stats.coefficient import Coefficient

METHODS = [(pearson, stats.pearsonr), (spearman, stats.spearmanr), (kendall_tau_b, stats.kendalltau)]
NUMBERS = st.one_of(st.integers(-3, 3).map(float), st.floats(-1e3, 1e3).map(lambda value: round(value, 3)))
PAIRS = st.lists(st.tuples(NUMBERS, NUMBERS), max_size=80)


@pytest.mark.parametrize(("ours", "oracle"), METHODS)
@given(pairs=PAIRS)
def test_coefficients_are_those_of_scipy(
    ours: Callable[..., Coefficient], oracle: Callable[..., tuple[float, float]], pairs: list[tuple[float, float]]
) -> None:
    """With and without ties; None exactly where a side does not vary."""
    a, b = [first for first, _ in pairs], [second for _, second in pairs]
    found = ours(a, b)
    assert found.n == len(pairs)
    if len(set(a)) < 2 or len(set(b)) < 2:
        assert found.value is None
        assert found.interval is None
        return
    assert found.value == pytest.approx(oracle(a, b)[0], abs=1e-9)
    if found.interval is not None:
        assert found.value is not None
        assert -1 <= found.interval[0] < found.value < found.interval[1] <= 1


def test_tau_counts_many_pairs_exactly() -> None:
    """Tens of thousands of values, half of them tied, are counted as scipy counts them."""
    rng = np.random.default_rng(7)
    a, b = rng.normal(size=30_000), rng.integers(0, 50, 30_000)
    assert kendall_tau_b(a, b).value == pytest.approx(stats.kendalltau(a, b).statistic, abs=1e-12)
    assert kendall_tau_b(np.round(a, 1), b + np.round(a)).value == pytest.approx(
        stats.kendalltau(np.round(a, 1), b + np.round(a)).statistic, abs=1e-12
    )


def test_pearsons_interval_is_that_of_scipy() -> None:
    """Fisher's transformation, and nothing below four pairs or at a perfect correlation."""
    a, b = [1.0, 2, 3, 4, 5, 6], [2.0, 1, 4, 3, 7, 5]
    wanted = stats.pearsonr(a, b).confidence_interval(0.9)
    assert pearson(a, b, level=0.9).interval == pytest.approx((wanted.low, wanted.high), abs=1e-12)
    assert pearson(a[:3], b[:3]).interval is None
    assert (pearson(a, a).value, pearson(a, a).interval) == (1, None)


def test_rank_intervals_follow_their_formulas() -> None:
    """Spearman's and Kendall's are as wide as Bonett and Wright say, worked out by hand."""
    a, b = list(range(10)), [1, 0, 3, 2, 5, 4, 7, 6, 9, 8]
    rho, tau = 1 - 6 * 10 / 990, (45 - 2 * 5) / 45
    half = 1.959963984540054 * math.sqrt((1 + rho * rho / 2) / 7)
    assert spearman(a, b).interval == pytest.approx((math.tanh(math.atanh(rho) - half), math.tanh(math.atanh(rho) + half)))
    half = 1.959963984540054 * math.sqrt(0.437 / 6)
    assert kendall_tau_b(a, b).interval == pytest.approx((math.tanh(math.atanh(tau) - half), math.tanh(math.atanh(tau) + half)))


@pytest.mark.parametrize(("method", "_"), METHODS)
def test_extremes_stay_exact(method: Callable[..., Coefficient], _: object) -> None:
    """Opposite orders give exactly -1, and neither huge, tiny nor distant numbers spoil it."""
    assert method([1, 2, 3], [3, 2, 1]).value == -1
    assert method([1e300, 2e300, 3e300], [1e-300, 2e-300, 3e-300]).value == pytest.approx(1)
    assert method([1e9 + 1, 1e9 + 2, 1e9 + 3], [1, 2, 3]).value == pytest.approx(1)


@pytest.mark.parametrize(("method", "_"), METHODS)
def test_missing_values_are_refused(method: Callable[..., Coefficient], _: object) -> None:
    """A gap is left out by the caller, with its partner; it is never guessed."""
    with pytest.raises(ValueError, match="finite"):
        method([1, math.nan], [1, 2])
    with pytest.raises(ValueError, match="same number"):
        method([1, 2], [1])
    with pytest.raises(ValueError, match="level"):
        method(range(9), [1, 0, 2, 3, 4, 5, 6, 7, 8], level=1)

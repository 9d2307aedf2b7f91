from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from common.stats.distributions import binomial_at, binomial_below, normal_two_sided, t_below, t_two_sided


@given(st.floats(0.001, 60), st.one_of(st.integers(1, 2000), st.floats(0.5, 1e5)))
def test_tails_of_t_agree_with_scipy(t: float, df: float) -> None:
    """Far tails keep their digits."""
    assert t_two_sided(t, df) == pytest.approx(2 * stats.t.sf(t, df), rel=1e-9, abs=1e-250)
    assert t_below(-t, df) == pytest.approx(stats.t.cdf(-t, df), rel=1e-9, abs=1e-250)
    assert t_below(t, df) == pytest.approx(stats.t.cdf(t, df), rel=1e-9)


@pytest.mark.parametrize(("t", "p"), [(0.0, 1.0), (math.inf, 0.0), (-math.inf, 0.0)])
def test_t_has_ends(t: float, p: float) -> None:
    """Nothing is further than 0, and nothing beyond infinity."""
    assert t_two_sided(t, 5) == p


def test_t_without_degrees_of_freedom_is_refused() -> None:
    """A spread needs two."""
    with pytest.raises(ValueError, match="df"):
        t_two_sided(1.0, 0)


@given(st.floats(-37, 37))
def test_tails_of_the_normal_agree_with_scipy(z: float) -> None:
    """Both sides, to the last digits."""
    assert normal_two_sided(z) == pytest.approx(2 * stats.norm.sf(abs(z)), rel=1e-9)


@given(st.integers(1, 3000).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, (n - 1) // 2))))
def test_binomial_tails_agree_with_scipy(case: tuple[int, int]) -> None:
    """The lower half of fair coins, and each single count."""
    trials, count = case
    assert binomial_below(count, trials) == pytest.approx(stats.binom.cdf(count, trials, 0.5), rel=1e-9, abs=1e-250)
    assert binomial_at(count, trials) == pytest.approx(stats.binom.pmf(count, trials, 0.5), rel=1e-9, abs=1e-250)


@pytest.mark.parametrize(("count", "trials"), [(4_900, 10_001), (499_000, 1_000_000)])
def test_large_binomials_agree_with_scipy(count: int, trials: int) -> None:
    """Beyond whole numbers the tail still holds to what a p-value needs."""
    assert binomial_below(count, trials) == pytest.approx(stats.binom.cdf(count, trials, 0.5), rel=1e-8)

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower, normal_power_het

from common.stats.decisions import better_than, deviation, items_needed, lower_bound, not_worse, power, share_power
from common.stats.estimate import Estimate
from common.stats.paired import difference

RNG = np.random.default_rng(3)
A = RNG.random(40)
B = A + RNG.normal(0.02, 0.1, 40)


@pytest.mark.parametrize("level", [0.9, 0.95, 0.975])
def test_the_lower_bound_is_that_of_the_one_sided_t_test(level: float) -> None:
    """The bound agrees with an independent library."""
    expected = stats.ttest_rel(B, A, alternative="greater").confidence_interval(level).low
    assert lower_bound(difference(A, B), level=level) == pytest.approx(expected, abs=1e-9)


def test_not_worse_turns_at_the_bound() -> None:
    """A margin just beyond the bound passes, one just short of it does not."""
    estimate = difference(B, A)
    bound = lower_bound(estimate)
    assert bound is not None
    assert bound < 0
    assert not_worse(estimate, -bound + 1e-9)
    assert not not_worse(estimate, -bound - 1e-9)


def test_better_than_turns_at_the_bound() -> None:
    """A gain is shown up to the bound and not beyond."""
    estimate = difference(A, A + 0.1 + 0.01 * RNG.random(40))
    bound = lower_bound(estimate)
    assert bound is not None
    assert better_than(estimate)
    assert better_than(estimate, bound - 1e-9)
    assert not better_than(estimate, bound)


@pytest.mark.parametrize("nothing", [Estimate(0, None, None, None), Estimate(1, 0.9, None, None)])
def test_nothing_shows_nothing(nothing: Estimate) -> None:
    """An empty comparison, or one of a single pair, passes no gate."""
    assert not not_worse(nothing, 1.0)
    assert not better_than(nothing, -1.0)
    assert deviation(nothing) is None


def test_a_run_is_not_worse_than_itself() -> None:
    """Without a difference any margin above 0 passes, and none below the loss does."""
    assert not_worse(difference(A, A), 0.001)
    assert not not_worse(difference(A, A), 0.0)
    assert not not_worse(difference(np.full(9, 0.5), np.full(9, 0.4)), 0.05)


def test_a_margin_is_not_negative() -> None:
    """Asking for a gain is another question."""
    with pytest.raises(ValueError, match="margin"):
        not_worse(difference(A, B), -0.1)


@pytest.mark.parametrize("one_sided", [False, True])
@pytest.mark.parametrize("n", [2, 3, 10, 100, 10_000])
@pytest.mark.parametrize("distance", [-0.3, 0.001, 0.02, 0.3, 2.0])
def test_power_is_that_of_the_noncentral_t(distance: float, n: int, *, one_sided: bool) -> None:
    """The chance agrees with an independent library."""
    expected = TTestPower().power(distance / 0.5, n, 0.05, alternative="larger" if one_sided else "two-sided")
    assert power(distance, 0.5, n, one_sided=one_sided) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("distance", "sd", "n", "expected"), [(0.1, 0.3, 1, 0.0), (0.1, 0, 5, 1.0), (0, 0.3, 50, 0.05)])
def test_power_at_the_edges(distance: float, sd: float, n: int, expected: float) -> None:
    """One item finds nothing, no spread hides nothing, and what is not there is found by chance."""
    assert power(distance, sd, n) == pytest.approx(expected)


@pytest.mark.parametrize("one_sided", [False, True])
@pytest.mark.parametrize(("distance", "sd"), [(0.02, 0.3), (0.5, 0.3), (5, 0.3), (0.01, 0.5)])
def test_items_needed_is_the_least_number_that_does(distance: float, sd: float, *, one_sided: bool) -> None:
    """One item fewer has less than the power wanted."""
    n = items_needed(distance, sd, one_sided=one_sided)
    assert n is not None
    assert power(distance, sd, n, one_sided=one_sided) >= 0.8
    assert n == 2 or power(distance, sd, n - 1, one_sided=one_sided) < 0.8


def test_some_questions_no_number_of_items_settles() -> None:
    """No distance, a distance on the wrong side, and one too small to ever matter."""
    assert items_needed(0, 0.3) is None
    assert items_needed(-0.1, 0.3, one_sided=True) is None
    assert items_needed(1e-9, 0.3) is None
    assert items_needed(0.1, 0.0) == 2


def test_the_deviation_of_clusters_counts_them() -> None:
    """Copies of an item need more items, as they tell less."""
    alone, copied = difference(A, B), difference(np.repeat(A, 4), np.repeat(B, 4), clusters=np.repeat(np.arange(40), 4))
    first, second = deviation(alone), deviation(copied)
    assert first is not None
    assert second == pytest.approx(2 * first, rel=0.02)


@pytest.mark.parametrize(("share", "threshold", "n"), [(0.85, 0.8, 400), (0.5, 0.6, 50), (0.3, 0.3, 100)])
def test_the_power_of_a_share_agrees_with_statsmodels(share: float, threshold: float, n: int) -> None:
    """Both sides, by the normal approximation."""
    null, true = (threshold * (1 - threshold)) ** 0.5, (share * (1 - share)) ** 0.5
    expected = normal_power_het(share - threshold, n, 0.05, std_null=null, std_alternative=true)
    assert share_power(share, threshold, n) == pytest.approx(expected, abs=1e-9)
    larger = normal_power_het(share - threshold, n, 0.05, std_null=null, std_alternative=true, alternative="larger")
    assert share_power(share, threshold, n, one_sided=True) == pytest.approx(larger, abs=1e-9)


def test_the_power_of_a_share_at_the_edges() -> None:
    """No items find nothing; a share without spread is found once there are enough."""
    assert share_power(0.9, 0.8, 0) == 0
    assert (share_power(1.0, 0.8, 5), share_power(1.0, 0.8, 50)) == (0, 1)
    assert (share_power(0.0, 0.8, 5), share_power(0.0, 0.8, 5, one_sided=True)) == (1, 0)

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from common.stats.estimate import Estimate
from common.stats.means import mean, proportion

if TYPE_CHECKING:
    import random

SCORES = st.lists(st.integers(-1000, 1000).map(lambda n: n / 100), min_size=2, max_size=40)


@given(SCORES, st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_the_interval_is_students(scores: list[float], level: float) -> None:
    """Mean, standard error and interval agree with an independent library."""
    estimate = mean(scores, level=level)
    assert estimate.mean == pytest.approx(statistics.fmean(scores), rel=1e-9, abs=1e-12)
    assert estimate.se == pytest.approx(statistics.stdev(scores) / math.sqrt(len(scores)), rel=1e-9, abs=1e-12)
    if estimate.se:
        expected = stats.t.interval(level, len(scores) - 1, estimate.mean, estimate.se)
        assert estimate.interval == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("groups", [2, 5, 30])
def test_clustered_errors_are_those_of_a_regression_on_a_constant(groups: int) -> None:
    """The clustered standard error is statsmodels' without its small-sample factor."""
    rng = np.random.default_rng(groups)
    clusters = rng.permutation(np.arange(120) % groups)
    scores = rng.random(120) + 0.3 * rng.random(groups)[clusters]
    fit = sm.OLS(scores, np.ones(120)).fit(cov_type="cluster", cov_kwds={"groups": clusters, "use_correction": False})
    estimate = mean(scores, clusters=clusters)
    assert estimate.se == pytest.approx(fit.bse[0], rel=1e-9)
    assert estimate.df == groups - 1
    assert estimate.interval is not None
    assert estimate.interval[1] - estimate.interval[0] == pytest.approx(
        2 * stats.t.ppf(0.975, groups - 1) * fit.bse[0], rel=1e-9
    )


@given(SCORES, st.randoms(use_true_random=False))
def test_the_order_of_items_does_not_matter(scores: list[float], rng: random.Random) -> None:
    """Scores, with their clusters, may come in any order."""
    clusters = [rng.choice("abc") for _ in scores]
    rows = list(zip(scores, clusters, strict=True))
    rng.shuffle(rows)
    shuffled = mean([row[0] for row in rows], clusters=[row[1] for row in rows])
    given_order = mean(scores, clusters=clusters)
    assert shuffled.mean == given_order.mean
    assert (shuffled.se is None) == (len(set(clusters)) == 1)
    assert shuffled.se is None or shuffled.se == pytest.approx(given_order.se, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize(
    ("scores", "clusters", "expected"),
    [
        ([], None, Estimate(0, None, None, None)),
        ([], [], Estimate(0, None, None, None)),
        ([0.5], None, Estimate(1, 0.5, None, None)),
        ([0.5, 0.7, 0.9], ["a", "a", "a"], Estimate(3, 0.7, None, None)),
        ([0.1] * 10, None, Estimate(10, 0.1, 0.0, (0.1, 0.1), df=9)),
        ([0.1] * 4, [1, 1, 2, 2], Estimate(4, 0.1, 0.0, (0.1, 0.1), df=1)),
    ],
)
def test_too_little_to_tell_is_said(scores: list[float], clusters: list[str] | None, expected: Estimate) -> None:
    """No items, one item, one cluster and equal scores have the estimates that the docstring promises."""
    found = mean(scores, clusters=clusters)
    assert (found.n, found.se, found.interval, found.df) == (expected.n, expected.se, expected.interval, expected.df)
    assert found.mean == pytest.approx(expected.mean)


@pytest.mark.parametrize("scores", [[0.5, math.nan], [math.inf], [[0.5, 0.5]]])
def test_unscored_items_are_the_callers_to_leave_out(scores: list[float]) -> None:
    """An unscored item is neither averaged nor dropped in silence."""
    with pytest.raises(ValueError, match="finite"):
        mean(scores)


def test_each_item_has_its_cluster() -> None:
    """Labels that do not match the scores are refused."""
    with pytest.raises(ValueError, match="one label"):
        mean([0.1, 0.2], clusters=["a"])


@pytest.mark.parametrize(("passed", "n"), [(0, 5), (1, 5), (5, 5), (37, 80), (1, 1)])
def test_a_share_has_wilsons_interval(passed: int, n: int) -> None:
    """Independent items: the interval is the one of an independent library."""
    estimate = proportion([1] * passed + [0] * (n - passed))
    assert estimate.mean == passed / n
    assert estimate.interval == pytest.approx(proportion_confint(passed, n, method="wilson"), abs=1e-9)


def test_clusters_that_repeat_themselves_count_once() -> None:
    """Ten copies of each item tell about as much as one, and the interval says so."""
    once = np.random.default_rng(1).integers(0, 2, 50)
    repeated = proportion(np.repeat(once, 10), clusters=np.repeat(np.arange(50), 10))
    assert repeated.interval is not None
    alone = proportion_confint(int(once.sum()), 50, method="wilson")
    assert repeated.interval[1] - repeated.interval[0] == pytest.approx(alone[1] - alone[0], rel=0.05)


def test_a_share_of_clusters_that_all_pass_keeps_a_width() -> None:
    """All pass in four clusters of 25: no more is sure than after four items."""
    estimate = proportion([1] * 100, clusters=np.arange(100) // 25)
    assert estimate.interval is not None
    low, high = estimate.interval
    assert low < proportion_confint(4, 4, method="wilson")[0]
    assert high == 1
    assert proportion([1] * 5, clusters=[1] * 5).interval is None
    assert proportion([]).mean is None


def test_a_share_counts_passes_only() -> None:
    """Scores that are not 0 or 1 have a mean, not a share."""
    with pytest.raises(ValueError, match="0 and 1"):
        proportion([0, 0.5])

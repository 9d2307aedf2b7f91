from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from common.stats import bootstrap
from common.stats.bootstrap import bca, paired_bootstrap, percentile
from common.stats.paired import difference

SKEWED = np.random.default_rng(1).exponential(size=40)


@pytest.mark.parametrize("statistic", [np.mean, np.median, np.std])
@pytest.mark.parametrize(("ours", "theirs"), [(bca, "BCa"), (percentile, "percentile")])
def test_intervals_are_those_of_scipy(ours: object, theirs: str, statistic: object) -> None:
    """The same draws give the same ends as an independent library's."""
    assert callable(ours)
    expected = stats.bootstrap((SKEWED,), statistic, n_resamples=999, method=theirs, rng=np.random.default_rng(5))
    found = ours(SKEWED, statistic, rng=np.random.default_rng(5), resamples=999)
    assert found == pytest.approx(tuple(expected.confidence_interval), abs=1e-9)


def test_batches_do_not_show() -> None:
    """More items than fit a batch give what one draw after the other gives, with a jackknife by parts."""
    values = np.random.default_rng(2).random(3_000)
    rng = np.random.default_rng(3)
    means = [float(values[rng.integers(0, 3_000, 3_000)].mean()) for _ in range(800)]
    found = percentile(values, np.mean, rng=np.random.default_rng(3), resamples=800)
    assert found == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])), abs=1e-9)
    accelerated = bca(values, np.mean, rng=np.random.default_rng(3), resamples=800)
    assert accelerated == pytest.approx(found, abs=0.003)


@pytest.mark.parametrize("method", [bca, percentile])
def test_too_little_to_tell_is_said(method: object) -> None:
    """Nothing and one value have no interval, equal values one of no width."""
    assert callable(method)
    rng = np.random.default_rng(0)
    assert method([], np.mean, rng=rng) is None
    assert method([0.4], np.mean, rng=rng) is None
    assert method([0.5] * 10, np.mean, rng=rng, resamples=99) == (0.5, 0.5)


def test_a_statistic_at_the_end_of_its_range_has_an_interval() -> None:
    """Where no resample lies beyond the statistic, the interval is still one of numbers."""
    found = bca([0, 1, 2, 3, 9], np.max, rng=np.random.default_rng(0), resamples=999)
    assert found is not None
    assert 0 <= found[0] <= found[1] <= 9


@pytest.mark.parametrize("clusters", [None, np.arange(60) // 2])
def test_the_paired_bootstrap_is_near_the_t_interval(clusters: np.ndarray | None) -> None:
    """On sixty well-behaved pairs both ways say about the same, with clusters and without."""
    rng = np.random.default_rng(4)
    a = rng.random(60)
    b = a + rng.normal(0.1, 0.2, 60)
    drawn = paired_bootstrap(a, b, rng=rng, clusters=clusters, resamples=4_000)
    formula = difference(a, b, clusters=clusters)
    assert (drawn.n, drawn.df, drawn.mean) == (formula.n, formula.df, pytest.approx(formula.mean))
    assert drawn.se == pytest.approx(formula.se, rel=0.1)
    assert drawn.interval == pytest.approx(formula.interval, abs=0.02)


def test_paired_bootstrap_of_little() -> None:
    """No pairs, one pair or cluster, no difference, always the same difference."""
    rng = np.random.default_rng(0)
    assert paired_bootstrap([], [], rng=rng).mean is None
    assert paired_bootstrap([0.1], [0.2], rng=rng).interval is None
    assert paired_bootstrap([0.1, 0.5], [0.2, 0.3], rng=rng, clusters=["x", "x"]).interval is None
    assert paired_bootstrap([0.1, 0.2], [0.1, 0.2], rng=rng).p == 1.0
    same = paired_bootstrap([0.1, 0.2], [0.2, 0.3], rng=rng)
    assert (same.interval, same.p) == ((0.1, 0.1), None)


def test_a_p_value_is_never_0() -> None:
    """Resampling cannot tell less than its number of draws allows."""
    found = paired_bootstrap(np.zeros(30), np.linspace(0.5, 1, 30), rng=np.random.default_rng(0), resamples=99)
    assert found.p == pytest.approx(2 / 100)


def test_defaults_are_enough_for_the_ends() -> None:
    """Two seeds agree about the ends to a small part of the width."""
    one, two = (bca(SKEWED, np.mean, rng=np.random.default_rng(seed)) for seed in (1, 2))
    assert one == pytest.approx(two, abs=0.02)
    assert bootstrap.RESAMPLES == 9_999

from __future__ import annotations

import krippendorff
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from statsmodels.stats.inter_rater import cohens_kappa

from common.stats.agreement import (
    MAX_CATEGORIES,
    MAX_RATIO_VALUES,
    Metric,
    Weights,
    accuracy,
    alpha_of,
    cohen_kappa,
    krippendorff_alpha,
)

METRICS: list[Metric] = ["nominal", "ordinal", "interval", "ratio"]
LEVELS = st.integers(1, 5)
PAIRS = st.lists(st.tuples(LEVELS, LEVELS), min_size=1, max_size=60)
TABLES = st.integers(2, 5).flatmap(
    lambda judges: st.lists(
        st.lists(st.one_of(st.just(float("nan")), LEVELS.map(float)), min_size=judges, max_size=judges), min_size=2, max_size=20
    )
)


def test_accuracy_is_the_share_that_agrees() -> None:
    """Strings, numbers and booleans are compared alike, with Wilson's interval."""
    found = accuracy(["a", "b", "c", "a"], ["a", "b", "a", "a"])
    assert (found.n, found.mean) == (4, 0.75)
    assert found.interval == pytest.approx((0.300642, 0.954413), abs=1e-6)
    assert accuracy([True, False], [True, True]).mean == 0.5
    assert accuracy([], []).mean is None


@given(PAIRS, st.sampled_from([None, "linear", "quadratic"]))
def test_kappa_is_that_of_statsmodels(pairs: list[tuple[int, int]], weights: Weights | None) -> None:
    """Kappa and its standard error, plain and weighted, are those of statsmodels; levels nobody used keep their distance."""
    a, b = [first for first, _ in pairs], [second for _, second in pairs]
    found = cohen_kappa(a, b, weights=weights)
    assert found.n == len(pairs)
    if found.value is None:
        assert len({*a, *b}) == 1
        return
    table = np.zeros((5, 5))
    for first, second in pairs:
        table[first - 1, second - 1] += 1
    scores = np.subtract.outer(np.arange(5), np.arange(5)).astype(float)
    distances = None if weights is None else np.abs(scores) if weights == "linear" else scores**2
    with np.errstate(invalid="ignore", divide="ignore"):
        wanted = cohens_kappa(table, weights=distances)
    assert found.value == pytest.approx(wanted.kappa, abs=1e-9)
    if found.se is not None:
        assert found.se == pytest.approx(np.sqrt(max(wanted.var_kappa, 0)), abs=1e-7)


@pytest.mark.parametrize("weights", [None, "linear", "quadratic"])
def test_kappa_with_a_judge_that_always_says_the_same_is_chance(weights: Weights | None) -> None:
    """It is 0, and rounding does not make an interval of next to no width."""
    found = cohen_kappa([1] * 5, range(5), weights=weights)
    assert (found.value, found.se, found.interval) == (pytest.approx(0, abs=1e-12), 0, None)


def test_kappa_that_cannot_be_told_from_chance_is_none() -> None:
    """Nothing, one item, and judges that always say the same thing have no kappa; full agreement on two labels has 1."""
    for labels in ([], [3], ["x", "x", "x"]):
        assert cohen_kappa(labels, labels).value is None
    same = cohen_kappa(["x", "y"], ["x", "y"])
    assert (same.value, same.se, same.interval) == (1, None, None)


@given(TABLES, st.sampled_from(METRICS))
def test_alpha_is_that_of_the_krippendorff_package(rows: list[list[float]], metric: Metric) -> None:
    """With values missing anywhere, every metric gives what an independent library gives."""
    ratings = np.array(rows).T
    sizes = np.sum(~np.isnan(ratings), axis=0)
    pairable = ratings[:, sizes > 1]
    assume(len(np.unique(pairable[~np.isnan(pairable)])) > 1)
    wanted = krippendorff.alpha(reliability_data=ratings, level_of_measurement=metric)
    found = krippendorff_alpha(ratings, metric=metric)
    assert found.value == pytest.approx(wanted, abs=1e-9)
    assert found.n == int(sizes[sizes > 1].sum())


@pytest.mark.parametrize("metric", METRICS)
def test_alpha_that_cannot_be_told_from_chance_is_none(metric: Metric) -> None:
    """No values, none to pair, or all the same: no alpha, and never NaN."""
    assert krippendorff_alpha(np.empty((2, 0)), metric=metric).value is None
    assert krippendorff_alpha([[1, 2], [np.nan, np.nan]], metric=metric).value is None
    assert krippendorff_alpha([[2, 2], [2, 2]], metric=metric).value is None
    assert krippendorff_alpha([[1, 2], [1, 2]], metric=metric).value == 1


def test_alpha_takes_values_far_from_zero() -> None:
    """A large offset, which would cancel in sums of squares, changes nothing."""
    ratings = np.array([[1.0, 2, 3, 4], [1, 2, 4, 4], [2, 2, 3, 5]])
    near, far = krippendorff_alpha(ratings, metric="interval"), krippendorff_alpha(ratings + 1e9, metric="interval")
    assert near.value is not None
    assert far.value == pytest.approx(near.value, abs=1e-9)


def test_large_units_are_paired_within() -> None:
    """A ratio alpha over units with many ratings is the library's too."""
    rng = np.random.default_rng(1)
    ratings = rng.integers(0, 40, size=(70, 9)).astype(float)
    wanted = krippendorff.alpha(reliability_data=ratings, level_of_measurement="ratio")
    assert krippendorff_alpha(ratings, metric="ratio").value == pytest.approx(wanted, abs=1e-9)


def test_what_cannot_be_compared_is_refused() -> None:
    """Unequal numbers, missing labels, negative ratios and tables without end are the caller's mistakes."""
    with pytest.raises(ValueError, match="same number"):
        accuracy([1], [1, 2])
    with pytest.raises(ValueError, match="finite"):
        cohen_kappa([1.0, float("nan")], [1.0, 2.0])
    with pytest.raises(ValueError, match="categories"):
        cohen_kappa(range(MAX_CATEGORIES + 1), range(MAX_CATEGORIES + 1))
    with pytest.raises(ValueError, match="from 0 up"):
        krippendorff_alpha([[-1, 2], [1, 2]], metric="ratio")
    with pytest.raises(ValueError, match="distinct"):
        alpha_of([0] * (MAX_RATIO_VALUES + 1), range(MAX_RATIO_VALUES + 1), metric="ratio")
    with pytest.raises(ValueError, match="table"):
        krippendorff_alpha([1, 2])
    with pytest.raises(ValueError, match="finite"):
        alpha_of([0, 0], [1, float("inf")])

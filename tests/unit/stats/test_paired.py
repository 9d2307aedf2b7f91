from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as mcnemar_table

from common.stats.estimate import Estimate
from common.stats.paired import difference, differences, mcnemar, wilcoxon

if TYPE_CHECKING:
    import random

PAIRS = st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100)), min_size=2, max_size=40)


def _sides(pairs: list[tuple[int, int]]) -> tuple[list[float], list[float]]:
    return [a / 100 for a, _ in pairs], [b / 100 for _, b in pairs]


@given(PAIRS)
def test_a_difference_is_that_of_the_paired_t_test(pairs: list[tuple[int, int]]) -> None:
    """Mean, interval and p agree with an independent library, where it has a p."""
    a, b = _sides(pairs)
    estimate = difference(a, b)
    if estimate.se:
        expected = stats.ttest_rel(b, a)
        assert estimate.p == pytest.approx(expected.pvalue, rel=1e-9, abs=1e-12)
        assert estimate.interval == pytest.approx(tuple(expected.confidence_interval()), rel=1e-9, abs=1e-9)


@given(PAIRS, st.booleans())
def test_turning_the_sides_turns_the_sign(pairs: list[tuple[int, int]], in_clusters: bool) -> None:  # noqa: FBT001
    """b - a is -(a - b), in mean and interval, and as significant."""
    a, b = _sides(pairs)
    clusters = [i // 3 for i in range(len(a))] if in_clusters else None
    there, back = difference(a, b, clusters=clusters), difference(b, a, clusters=clusters)
    assert there.mean == -(back.mean or 0)
    assert (there.se, there.p) == (back.se, back.p)
    if there.interval is not None and back.interval is not None:
        assert there.interval == (-back.interval[1], -back.interval[0])


@given(PAIRS, st.randoms(use_true_random=False))
def test_the_order_of_pairs_does_not_matter(pairs: list[tuple[int, int]], rng: random.Random) -> None:
    """Pairs may come in any order."""
    shuffled = rng.sample(pairs, len(pairs))
    there, again = difference(*_sides(pairs)), difference(*_sides(shuffled))
    assert there.mean == again.mean
    assert (there.p is None) == (again.p is None)
    assert there.p is None or there.p == pytest.approx(again.p, rel=1e-6)
    assert wilcoxon(differences(*_sides(pairs))) == wilcoxon(differences(*_sides(shuffled)))


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([], [], Estimate(0, None, None, None)),
        ([0.2], [0.5], Estimate(1, 0.3, None, None)),
        ([0.2, 0.4], [0.2, 0.4], Estimate(2, 0.0, 0.0, (0.0, 0.0), 1.0, 1)),
        ([0.2, 0.4, 0.9], [0.3, 0.5, 1.0], Estimate(3, 0.1, 0.0, (0.1, 0.1), None, 2)),
    ],
)
def test_too_little_to_tell_is_said(a: list[float], b: list[float], expected: Estimate) -> None:
    """No pairs, one pair, no difference and always the same difference, which no last binary digit hides."""
    assert difference(a, b) == expected


def test_pairs_have_two_sides() -> None:
    """Runs of different lengths cannot be paired."""
    with pytest.raises(ValueError, match="same items"):
        difference([0.1, 0.2], [0.1])


@given(st.integers(0, 200), st.integers(0, 200))
def test_mcnemar_is_exact(only_a: int, only_b: int) -> None:
    """The p-value agrees with an independent library; the mid-p variant is smaller by the chance of the count seen."""
    expected = mcnemar_table([[0, only_a], [only_b, 0]], exact=True).pvalue if only_a != only_b else 1.0
    p, mid = mcnemar(only_a, only_b), mcnemar(only_a, only_b, mid_p=True)
    assert p == pytest.approx(expected, rel=1e-9)
    assert mcnemar(only_b, only_a) == p
    if only_a != only_b:
        trials = only_a + only_b
        assert mid == pytest.approx(
            2 * stats.binom.cdf(min(only_a, only_b), trials, 0.5) - stats.binom.pmf(only_a, trials, 0.5), rel=1e-9
        )
    assert mid <= p


@pytest.mark.parametrize("counts", [(0, 0), (7, 7)])
def test_mcnemar_without_a_lead_is_1(counts: tuple[int, int]) -> None:
    """Nothing speaks for either side."""
    assert mcnemar(*counts) == mcnemar(*counts, mid_p=True) == 1.0


def test_mcnemar_counts_from_0() -> None:
    """A count below 0 is the caller's mistake."""
    with pytest.raises(ValueError, match="at least 0"):
        mcnemar(-1, 3)


@given(st.lists(st.floats(-9, 9).filter(lambda d: abs(d) > 1e-6), min_size=1, max_size=50, unique_by=abs))
def test_wilcoxon_without_ties_is_exact(steps: list[float]) -> None:
    """Up to 50 differences the p-value agrees with an independent library's exact one."""
    assert wilcoxon(steps) == pytest.approx(stats.wilcoxon(steps, method="exact").pvalue, abs=1e-9)


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=11))
def test_wilcoxon_with_ties_counts_all_ways_to_sign(steps: list[int]) -> None:
    """With ties and zeros the p-value is the share of all signings that is as extreme."""
    ranks = stats.rankdata([abs(step) for step in steps if step])
    signs = 2 * ((np.arange(2 ** len(ranks))[:, None] >> np.arange(len(ranks))) & 1) - 1
    seen = abs(float(ranks @ np.sign([step for step in steps if step])))
    assert wilcoxon(steps) == pytest.approx(float(np.mean(np.abs(signs @ ranks) >= seen - 1e-9)))


@given(st.lists(st.integers(-5, 5).filter(bool), min_size=51, max_size=200))
def test_wilcoxon_of_many_is_approximate(steps: list[int]) -> None:
    """Beyond 50 differences the normal approximation, corrected for ties and continuity, agrees with the library's."""
    expected = stats.wilcoxon(steps, method="asymptotic", correction=True).pvalue
    assert wilcoxon(steps) == pytest.approx(min(1.0, expected), abs=1e-9)


@pytest.mark.parametrize(("steps", "p"), [([], 1.0), ([0.0, 0.0], 1.0), ([0.4], 1.0), ([0.3] * 6, 2 / 64)])
def test_wilcoxon_of_few(steps: list[float], p: float) -> None:
    """Nothing, only ties, one step, and equal steps."""
    assert wilcoxon(steps) == p

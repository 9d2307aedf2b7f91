from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.stats.corrected import Labelled, rogan_gladen
from common.stats.flips import flip_rate

COUNTS = st.integers(0, 40)


def test_a_known_judge_is_undone() -> None:
    """A judge that passes 80 % of good and 10 % of bad items, and 45 % in all, saw 50 % good ones."""
    found = rogan_gladen(450, 1000, labelled=Labelled(80, 20, 10, 90))
    assert (found.sensitivity, found.specificity, found.raw_rate) == (0.8, 0.9, 0.45)
    assert found.rate == pytest.approx(0.5)
    assert found.interval is not None
    assert found.interval[0] < 0.45
    assert found.interval[1] > 0.55
    assert not found.clipped


def test_the_interval_is_lang_and_reiczigels() -> None:
    """Worked out step by step from the paper's formulas."""
    z = 1.959963984540054
    p, se, sp = (23 + z * z / 2) / (150 + z * z), 49 / 52, 90 / 102
    vp, vse, vsp = p * (1 - p) / (150 + z * z), se * (1 - se) / 52, sp * (1 - sp) / 102
    rate = (p + sp - 1) / (se + sp - 1)
    centre = rate + 2 * z * z * (rate * vse - (1 - rate) * vsp)
    half = z * np.sqrt(vp + rate**2 * vse + (1 - rate) ** 2 * vsp) / (se + sp - 1)
    found = rogan_gladen(23, 150, labelled=Labelled(48, 2, 11, 89))
    assert found.interval == pytest.approx((max(0, centre - half), centre + half), abs=1e-12)


@given(st.tuples(COUNTS, COUNTS, COUNTS, COUNTS), COUNTS, COUNTS)
def test_a_rate_is_within_its_interval_or_says_why_not(labels: tuple[int, int, int, int], passed: int, failed: int) -> None:
    """Whatever the counts: a rate and its interval within [0, 1], or None and a reason."""
    found = rogan_gladen(passed, passed + failed, labelled=Labelled(*labels))
    if found.rate is None:
        assert found.reason is not None
        assert found.interval is None
        return
    assert found.reason is None
    assert 0 <= found.rate <= 1
    if found.interval is not None:
        assert 0 <= found.interval[0] <= found.rate <= found.interval[1] <= 1


def test_what_cannot_be_corrected_says_why() -> None:
    """No items, no labels of a kind, and a judge no better than a coin."""
    cases = {
        "nothing_judged": (0, 0, Labelled(5, 1, 1, 5)),
        "no_labelled_passes": (1, 2, Labelled(0, 0, 1, 5)),
        "no_labelled_failures": (1, 2, Labelled(5, 1, 0, 0)),
        "judge_no_better_than_chance": (1, 2, Labelled(1, 1, 1, 1)),
    }
    for reason, (passed, n, labelled) in cases.items():
        assert rogan_gladen(passed, n, labelled=labelled).reason == reason
    with pytest.raises(ValueError, match="counts"):
        rogan_gladen(3, 2, labelled=Labelled(1, 1, 1, 1))


def test_an_estimate_outside_is_cut_and_says_so() -> None:
    """A judge that passes fewer than its false passes alone would be leaves 0, marked as clipped."""
    found = rogan_gladen(1, 100, labelled=Labelled(9, 1, 2, 8))
    assert (found.rate, found.clipped) == (0, True)


def test_intervals_hold_what_they_promise() -> None:
    """Over seeded draws, with the subset inside the run as it is in practice, close to 95 % of the intervals hold the truth."""
    rng = np.random.default_rng(5)
    held = 0
    for _ in range(2000):
        good = rng.random(600) < 0.7
        judged = np.where(good, rng.random(600) < 0.85, rng.random(600) < 0.2)
        human, judge = good[:100], judged[:100]
        labelled = Labelled(
            int((human & judge).sum()), int((human & ~judge).sum()), int((~human & judge).sum()), int((~human & ~judge).sum())
        )
        interval = rogan_gladen(int(judged.sum()), 600, labelled=labelled).interval
        held += interval is not None and interval[0] <= 0.7 <= interval[1]
    assert 0.93 < held / 2000 < 0.99


def test_flips_are_counted_by_outcome() -> None:
    """Only another outcome is a flip, and a preference for a position shows as such."""
    found = flip_rate([1, 1, 0, 0.5, 0.7, 0], [1, 0, 1, 1, 0.9, 0])
    assert (found.flipped, found.first_preferred, found.second_preferred) == (3, 1, 1)
    assert (found.rate.n, found.rate.mean) == (6, 0.5)
    assert flip_rate([], []).rate.mean is None
    ties = flip_rate([0.5] * 4, [0.5] * 4)
    assert (ties.rate.mean, ties.flipped) == (0, 0)
    assert ties.rate.interval is not None
    assert ties.rate.interval[1] > 0.4
    with pytest.raises(ValueError, match="both orders"):
        flip_rate([1], [])

from __future__ import annotations

import dataclasses
import json
import random
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.stats.sequential import State, ThresholdTest, difference_test, interval

SCORES = st.lists(st.one_of(st.none(), st.integers(0, 100).map(lambda n: n / 100)), min_size=1, max_size=60)


@settings(max_examples=50)
@given(SCORES, st.integers(0, 100), st.integers(0, 60))
def test_scores_may_come_in_any_portions(scores: list[float | None], hundredths: int, cut: int) -> None:
    """A state that was stored as JSON between two portions ends where one portion ends."""
    test = ThresholdTest(len(scores), hundredths / 100)
    kept = json.dumps(dataclasses.asdict(test.update(State(), scores[:cut])))
    assert test.update(State(**json.loads(kept)), scores[cut:]) == test.update(State(), scores)


@settings(max_examples=50)
@given(SCORES, st.integers(0, 100))
def test_above_and_below_are_mirror_images(scores: list[float | None], hundredths: int) -> None:
    """Scores and threshold turned around turn the decision around, at the same item."""
    turned = [None if score is None else 1 - score for score in scores]
    state = ThresholdTest(len(scores), hundredths / 100).update(State(), scores)
    mirrored = ThresholdTest(len(scores), 1 - hundredths / 100).update(State(), turned)
    assert mirrored.seen == state.seen
    assert mirrored.decision == {None: None, "above": "below", "below": "above"}[state.decision]


@settings(max_examples=50)
@given(st.lists(st.integers(0, 100).map(lambda n: n / 100), min_size=1, max_size=60), st.integers(0, 100))
def test_once_all_items_are_in_only_equality_is_open(scores: list[float], hundredths: int) -> None:
    """The last item makes certain what the mean of all is, unless it is the threshold itself."""
    state = ThresholdTest(len(scores), hundredths / 100).update(State(), scores)
    assert (state.decision is None) <= (round(sum(scores) * 100) == len(scores) * hundredths)


@settings(max_examples=25)
@given(SCORES, st.randoms(use_true_random=False))
def test_the_interval_holds_what_the_test_leaves_open(scores: list[float | None], rng: random.Random) -> None:
    """A threshold within the interval is undecided, one outside is decided on its side."""
    low, high = interval(scores, 2 * len(scores))
    assert 0 <= low <= high <= 1
    for threshold in (rng.random() for _ in range(5)):
        decision = ThresholdTest(2 * len(scores), threshold).update(State(), scores).decision
        if min(abs(threshold - low), abs(threshold - high)) > 2e-4:
            assert decision == ("above" if threshold < low else "below" if threshold > high else None)


@settings(max_examples=25)
@given(st.lists(st.integers(0, 100).map(lambda n: n / 100), min_size=1, max_size=60))
def test_the_interval_of_all_items_is_their_mean(scores: list[float]) -> None:
    """Nothing is left to chance when every item has been seen."""
    low, high = interval(scores, len(scores))
    mean = sum(scores) / len(scores)
    assert low - 1e-9 <= mean <= high + 1e-9
    assert high - low < 3e-4


def test_a_mean_at_the_threshold_is_rarely_decided() -> None:
    """Looking after every item, at most about 5 % of 400 runs whose mean is the threshold are decided (seeded)."""
    rng = random.Random(7)
    population = [1.0] * 80 + [0.0] * 20
    test = ThresholdTest(100, 0.8)
    decided = sum(test.update(State(), rng.sample(population, 100)).decision is not None for _ in range(400))
    assert decided <= 0.05 * 400


def test_a_clear_mean_is_decided_early() -> None:
    """A run with 95 % passes is above a threshold of 80 % long before its end (seeded)."""
    population = [1.0] * 950 + [0.0] * 50
    state = ThresholdTest(1000, 0.8).update(State(), random.Random(7).sample(population, 1000))
    assert state.decision == "above"
    assert state.seen < 300


def test_unscored_items_can_decide_nothing() -> None:
    """A run without a score is neither above nor below, down to its last item."""
    state = ThresholdTest(50, 0.8).update(State(), [None] * 50)
    assert (state.seen, state.scored, state.decision) == (50, 0, None)


@pytest.mark.parametrize(("threshold", "decision"), [(0.5, "above"), (0.95, "below"), (0.8, None)])
def test_unscored_items_count_against_either_decision(threshold: float, decision: str | None) -> None:
    """With 70 passes, 10 fails and 20 unscored the mean lies between .7 and .9, and only thresholds outside are decided."""
    scores = random.Random(3).sample([1.0] * 70 + [0.0] * 10 + [None] * 20, 100)
    assert ThresholdTest(100, threshold).update(State(), scores).decision == decision


def test_differences_are_tested_against_the_margin() -> None:
    """Equal runs are not worse than a margin, and a lost tenth is."""
    test = difference_test(500, 0.05)
    assert test.update(State(), [0.0] * 500).decision == "above"
    assert test.update(State(), [-0.1] * 500).decision == "below"


def test_a_decision_is_final() -> None:
    """Scores after it change nothing."""
    test = ThresholdTest(100, 0.5)
    decided = test.update(State(), [1.0] * 60)
    assert decided.decision == "above"
    assert test.update(decided, [0.0] * 40) == decided


@pytest.mark.parametrize("score", [-0.1, 1.1, float("nan"), float("inf")])
def test_scores_out_of_range_are_refused(score: float) -> None:
    """The promise rests on the range, so that a score beyond it is an error."""
    with pytest.raises(ValueError, match="from 0 to 1"):
        ThresholdTest(10, 0.5).update(State(), [score])


def test_more_scores_than_items_are_refused() -> None:
    """The number of items was the caller's word."""
    with pytest.raises(ValueError, match="more scores"):
        ThresholdTest(2, 0.5).update(State(), [1.0, 0.0, 0.5])


@pytest.mark.parametrize("wrong", [{"n_total": 0}, {"high": 0.0}, {"alpha": 0.0}, {"alpha": 1.0}, {"threshold": float("nan")}])
def test_a_test_without_a_meaning_is_refused(wrong: dict[str, float]) -> None:
    """No items, an empty range or a chance outside (0, 1) is the caller's mistake."""
    with pytest.raises(ValueError, match="a test needs"):
        ThresholdTest(**{"n_total": 10, "threshold": 0.5, **wrong})  # type: ignore[arg-type]


def test_no_scores_leave_the_whole_range() -> None:
    """Before the first item nothing is known."""
    assert interval([], 10, low=-1, high=2) == (-1, 2)


def test_folding_needs_no_numpy() -> None:
    """What runs where results are folded starts without the heavy half of the statistics."""
    code = "import sys, common.stats.sequential, common.stats.intervals, common.stats.summary; sys.exit('numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)

"""A test that may be looked at after every item, and may stop a run as soon as it is sure.

Plain Python: it runs where results are folded, one score at a time, in constant work and memory.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Decision = Literal["above", "below"]

_UNITS = 10**9  # scores are summed as whole billionths: exactly, and in any order alike
_BOLDEST = 0.5  # no bet risks more than this share of the capital
_STEPS = 14  # halvings of the range, to a ten-thousandth of it


@dataclass(frozen=True, slots=True)
class State:
    """All that a test remembers; plain numbers, to be kept between events (``dataclasses.asdict``, ``State(**kept)``).

    Attributes:
        seen: Items so far, `scored` and unscored ones.
        units: Sum of the scores above the low end of their range, in billionths.
        squares: Sum of squared deviations, each from the mean before it, in squared ranges.
        capital_above: Log of the capital that betted on a mean above the threshold.
        capital_below: Log of the one that betted on a mean below it.
        decision: None while nothing is decided. A decision is final.
    """

    seen: int = 0
    scored: int = 0
    units: int = 0
    squares: float = 0.0
    capital_above: float = 0.0
    capital_below: float = 0.0
    decision: Decision | None = None


@dataclass(frozen=True)
class ThresholdTest:
    """Is the mean of *all* items above or below a threshold? Valid however often one looks, and whenever one stops.

    Two gamblers start with 1 each. Before each score, one bets that it exceeds the mean which the items left would
    have if the mean of all were the threshold, the other that it falls short:
    ``capital *= 1 ± bet * (x - m)`` with ``m = (N * threshold - sum so far) / (N - seen)``. If the threshold is the mean,
    no bet gains on average, and by Ville's inequality the chance that either ever reaches ``2 / alpha`` is at most
    `alpha`, over all looks together. "above" is decided when the first one does, "below" when the second does, and
    either one for certain when the items left can no longer change it. Where all items are in and their mean is the
    threshold, nothing is decided.

    The bet is ``sqrt(2 * log(2 / alpha) / (variance * N)) * N / (N - seen)``, cut to half of what could be lost. Variance
    is that of the scores before, shrunk from 1/4 (in squared ranges). Any bet made from what was seen before is valid;
    this is the plug-in bet for a sample of N, growing as the items left leave less to chance. It does best where about
    half of the items settle the matter. As it does not depend on the threshold, those not ruled out form an `interval`.

    Unscored items are not imputed: for "above" they count as `low`, for "below" as `high`, so that a decision holds
    whatever their scores would have been.

    **The order must be random**, drawn before the run, and scores be given in that order, not in that of arrival: slow
    items may score otherwise. With 10 items or fewer little is decided before it is certain. Equal scores decide too:
    with threshold 0.7, 18 zeros or 31 ones of 1,000.

    Source: Waudby-Smith and Ramdas 2024, "Estimating means of bounded random variables by betting", JRSS-B 86(1),
    https://arxiv.org/abs/2010.09686: section 3 (variance, and the bet for a sample of known size), section 4 (hedged
    capital; here each gambler has a bar of his own, which is the maximum with equal shares), section 5 (without
    replacement). The factor ``N / (N - seen)`` of the bet is ours.

    Attributes:
        n_total: N, the items of the whole run, at least 1.
        threshold: In units of the score.
        low: The least score that is possible.
        high: The highest.
        alpha: Chance of deciding either way when the mean is the threshold; of a wrong decision otherwise, half of it.
    """

    n_total: int
    threshold: float
    low: float = 0.0
    high: float = 1.0
    alpha: float = 0.05

    def __post_init__(self) -> None:
        """Refuse what has no meaning.

        Raises:
            ValueError: no items, an empty or endless range, or a chance outside (0, 1).
        """
        finite = all(map(math.isfinite, (self.threshold, self.low, self.high)))
        if self.n_total < 1 or not finite or not self.low < self.high or not 0 < self.alpha < 1:
            raise ValueError("a test needs items, a threshold, a range from low to high and an alpha within (0, 1)")

    def update(self, state: State, scores: Iterable[float | None]) -> State:
        """The state after more scores, in the drawn order; None is an unscored item. Scores after a decision are not read.

        Raises:
            ValueError: a score is not a number within the range, or there are more scores than items.
        """
        for score in scores:
            if state.decision is not None:
                break
            state = self._seen(state, score)
        return state

    def _seen(self, state: State, score: float | None) -> State:
        left = self.n_total - state.seen
        if left < 1:
            raise ValueError("more scores than items")
        span, bet = self._span, self._bet(state)
        units = 0 if score is None else self._units(score)
        known = int(score is not None)
        sum_above = state.units  # with unscored items as `low`
        sum_below = span * state.scored - state.units  # below the high end, with unscored items as `high`
        left_above, left_below = self._target - sum_above, span * self.n_total - self._target - sum_below
        deviation = units / span - self._mean(state)
        added = State(
            seen=state.seen + 1,
            scored=state.scored + known,
            units=state.units + units,
            squares=state.squares + known * deviation * deviation,
            capital_above=state.capital_above + _gain(units / span, left_above / (left * span), bet),
            capital_below=state.capital_below + _gain(known - units / span, left_below / (left * span), bet),
        )
        decision = self._decided(added)
        return replace(added, decision=decision) if decision else added

    def _decided(self, state: State) -> Decision | None:
        best = state.units + self._span * (self.n_total - state.scored)
        if state.units > self._target or (state.capital_above >= self._bar and best >= self._target):
            return "above"
        if best < self._target or state.capital_below >= self._bar:
            return "below"
        return None

    def _bet(self, state: State) -> float:
        variance = (0.25 + state.squares) / (state.scored + 1)
        return math.sqrt(2 * self._bar * self.n_total / variance) / (self.n_total - state.seen)

    def _mean(self, state: State) -> float:
        return (0.5 + state.units / self._span) / (state.scored + 1)

    def _units(self, score: float) -> int:
        units = round((score - self.low) * _UNITS) if math.isfinite(score) else -1
        if not 0 <= units <= self._span:
            raise ValueError(f"a score must be a number from {self.low:g} to {self.high:g}")
        return units

    @cached_property
    def _bar(self) -> float:
        """The log of the capital that decides."""
        return math.log(2 / self.alpha)

    @cached_property
    def _span(self) -> int:
        return round((self.high - self.low) * _UNITS)

    @cached_property
    def _target(self) -> int:
        """The sum, in billionths above the low end, that all items have if their mean is the threshold."""
        return self.n_total * round((self.threshold - self.low) * _UNITS)


def difference_test(n_total: int, margin: float, *, low: float = 0.0, high: float = 1.0, alpha: float = 0.05) -> ThresholdTest:
    """The test of "b is not worse than a by `margin`" over per-item differences b - a of scores from `low` to `high`.

    "above": not worse, "below": worse by more than the margin. A pair with an unscored side is None.
    """
    return ThresholdTest(n_total, -margin, low=low - high, high=high - low, alpha=alpha)


def interval(
    scores: Sequence[float | None], n_total: int, *, low: float = 0.0, high: float = 1.0, alpha: float = 0.05
) -> tuple[float, float]:
    """The means of all items that the test has not ruled out: a confidence interval that holds at every look together.

    It holds every threshold that `ThresholdTest` leaves undecided after `scores`, to a ten-thousandth of the range, found by
    halving: some 28 tests over the scores, up to 0.1 s for 1,000 of them. No scores: the whole range.

    Source: as `ThresholdTest`; that the set is an interval: section 4, theorem 3.

    Returns:
        (low end, high end), both within the range.
    """
    if not scores:
        return low, high
    return _edge(scores, n_total, (low, high), alpha=alpha, end="above"), _edge(
        scores, n_total, (low, high), alpha=alpha, end="below"
    )


def _edge(scores: Sequence[float | None], n_total: int, bounds: tuple[float, float], *, alpha: float, end: Decision) -> float:
    """The outer side of the last step between thresholds that are ruled out and those that are not."""
    low, high = bounds
    ruled_out, open_ = (low, high) if end == "above" else (high, low)
    for _ in range(_STEPS):
        middle = (ruled_out + open_) / 2
        test = ThresholdTest(n_total, middle, low=low, high=high, alpha=alpha)
        if test.update(State(), scores).decision == end:
            ruled_out = middle
        else:
            open_ = middle
    return ruled_out


def _gain(x: float, m: float, bet: float) -> float:
    """What a bet on ``x > m`` adds to the log of the capital. Where m is 0 or less certainty decides, and nothing is bet."""
    return math.log1p(min(bet, _BOLDEST / m) * (x - m)) if m > 0 else 0.0

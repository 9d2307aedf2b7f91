"""The ballots within verdicts: how far they agree, and what the order of a pair did to them."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

import numpy as np

from common.schemas.statistics import BallotAgreement, FlipRate
from common.stats.flips import flip_rate
from functions.aggregate.statistics.alphas import alphas

if TYPE_CHECKING:
    from common.schemas.evaluation import Ballot, Verdict


class BallotBox:
    """Collects ballots, verdict by verdict."""

    def __init__(self) -> None:
        self.items = self.ballots = self.abstained = 0
        self._units, self._scores = array("q"), array("d")
        self._label_units, self._labels = array("q"), array("q")
        self._codes: dict[str, int] = {}
        self._given, self._swapped = array("d"), array("d")

    def add(self, verdict: Verdict) -> None:
        """Take a verdict's ballots, also those of an unscored one."""
        unit = self.items
        self.items += 1
        self.ballots += len(verdict.ballots)
        for ballot in verdict.ballots:
            if ballot.score is None:
                self.abstained += 1
                continue
            self._units.append(unit)
            self._scores.append(ballot.score)
            if ballot.label is not None:
                self._label_units.append(unit)
                self._labels.append(self._codes.setdefault(ballot.label, len(self._codes)))
        for given, swapped in both_orders(verdict.ballots):
            self._given.append(given)
            self._swapped.append(swapped)

    def measured(self, *, level: float) -> BallotAgreement:
        """All that can be said of them."""
        units, scores = np.array(self._units, dtype=np.intp), np.array(self._scores, dtype=np.float64)
        label_units, labels = np.array(self._label_units, dtype=np.intp), np.array(self._labels, dtype=np.float64)
        return BallotAgreement(
            items=self.items,
            ballots=self.ballots,
            abstained=self.abstained,
            scores=alphas(units, scores, numbers=True),
            labels=alphas(label_units, labels, numbers=False) if len(labels) else None,
            flips=self._flips(level=level) if self._given else None,
        )

    def _flips(self, *, level: float) -> FlipRate:
        found = flip_rate(np.array(self._given), np.array(self._swapped), level=level)
        return FlipRate(
            n=found.rate.n,
            flipped=found.flipped,
            rate=found.rate.mean,
            interval=found.rate.interval,
            first_preferred=found.first_preferred,
            second_preferred=found.second_preferred,
        )


def both_orders(ballots: list[Ballot]) -> list[tuple[float, float]]:
    """Scores of the pair's side A as (shown first, shown second): the k-th ballot one way with the k-th the other way.

    A ballot without a score takes its partner with it.
    """
    one_way, other_way = ([ballot.score for ballot in ballots if ballot.order == order] for order in ("ab", "ba"))
    both = zip(one_way, other_way, strict=False)
    return [(given, swapped) for given, swapped in both if given is not None and swapped is not None]

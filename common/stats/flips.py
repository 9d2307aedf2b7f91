"""Does the order in which a pair is shown change the verdict?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from common.stats.means import finite, proportion

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from common.stats.estimate import Estimate

_EVEN = 0.5


@dataclass(frozen=True, slots=True)
class Flips:
    """How a judge's verdicts stood up to showing the pair the other way round.

    Attributes:
        rate: Share of pairs with another outcome (win, tie, loss) in the other order, with Wilson's interval.
        flipped: How many that is.
        first_preferred: Pairs in which whichever was shown first won both times.
        second_preferred: Pairs in which whichever was shown second did. The rest of the flipped were a tie once.
    """

    rate: Estimate
    flipped: int
    first_preferred: int
    second_preferred: int


def flip_rate(given: ArrayLike, swapped: ArrayLike, *, even: float = _EVEN, level: float = 0.95) -> Flips:
    """The position-flip rate: the share of pairs whose outcome differs between the two orders.

    n = 0: the rate is None. All ties in both orders: 0, with an interval above it.

    Source: Zheng et al. 2023, "Judging LLM-as-a-Judge", https://arxiv.org/abs/2306.05685, section 3.3 (consistency is 1 less
    this rate; "biased toward first" is `Flips.first_preferred` over n).

    Args:
        given: n scores of the pair's first member (above `even`: it won) where it was shown first.
        swapped: n scores of the same member where it was shown second.

    Raises:
        ValueError: they are not as many, or not finite.
    """
    first, second = np.sign(finite(given) - even), np.sign(finite(swapped) - even)
    if first.shape != second.shape:
        raise ValueError("each pair needs a score in both orders")
    flipped = first != second
    return Flips(
        rate=proportion(flipped, level=level),
        flipped=int(flipped.sum()),
        first_preferred=int(np.sum((first > 0) & (second < 0))),
        second_preferred=int(np.sum((first < 0) & (second > 0))),
    )

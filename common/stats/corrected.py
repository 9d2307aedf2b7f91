"""The pass rate that people would have found, from a judge's and a subset that people labelled."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from common.stats.coefficient import normal_quantile

Reason = Literal["nothing_judged", "no_labelled_passes", "no_labelled_failures", "judge_no_better_than_chance"]
_PLUS = 2  # pseudo-observations of the interval, half of them positive


@dataclass(frozen=True, slots=True)
class Labelled:
    """The subset with human labels, counted by what people and the judge said of it."""

    both_pass: int
    only_human_passes: int
    only_judge_passes: int
    both_fail: int

    @property
    def human_passes(self) -> int:
        """Items that people passed."""
        return self.both_pass + self.only_human_passes

    @property
    def human_failures(self) -> int:
        """Items that people failed."""
        return self.only_judge_passes + self.both_fail


@dataclass(frozen=True, slots=True)
class Corrected:
    """A corrected pass rate.

    Attributes:
        n: Items that the judge scored.
        raw_rate: The judge's own pass rate.
        rate: The corrected one, within [0, 1]; None where it cannot be estimated, and `reason` says why.
        interval: Its interval, within [0, 1]; None where `rate` is, and where labels are so few that the judge
            might be no better than chance.
        sensitivity: Share of the items people passed that the judge passes; None without any.
        specificity: Share of the items people failed that the judge fails; None without any.
        clipped: Whether the estimate lay outside [0, 1] and was cut: a sign that the subset differs from the rest, or is small.
    """

    n: int
    raw_rate: float | None
    rate: float | None
    interval: tuple[float, float] | None
    sensitivity: float | None
    specificity: float | None
    clipped: bool = False
    reason: Reason | None = None


def rogan_gladen(passed: int, n: int, *, labelled: Labelled, level: float = 0.95) -> Corrected:
    """The pass rate ``(raw + specificity - 1) / (sensitivity + specificity - 1)``, with Lang and Reiczigel's interval.

    The subset must be drawn at random from what was judged, at least within the passes and within the failures. The interval
    counts the uncertainty of all three shares, as if the subset were drawn on its own. It is built around a shrunken estimate,
    and widened to hold `rate` where it would not.

    Not estimated: n = 0; no labelled passes, or no labelled failures; sensitivity + specificity <= 1, where the judge tells
    nothing. Cut to [0, 1], and said so, where sampling brings it outside.

    Source: Rogan and Gladen 1978, https://doi.org/10.1093/oxfordjournals.aje.a112510, equation (1); interval: Lang and
    Reiczigel 2014, https://doi.org/10.1016/j.prevetmed.2013.09.015, section 2.2.

    Args:
        passed: Of the `n` items that the judge scored, those that it passed.
        labelled: Human labels against the judge's verdicts.

    Raises:
        ValueError: a count is negative, or `passed` above `n`.
    """
    if not 0 <= passed <= n or min(labelled.both_pass, labelled.both_fail) < 0:
        raise ValueError("counts must be at least 0, and no more may pass than there are")
    raw = passed / n if n else None
    sensitivity = labelled.both_pass / labelled.human_passes if labelled.human_passes else None
    specificity = labelled.both_fail / labelled.human_failures if labelled.human_failures else None
    if raw is None or sensitivity is None or specificity is None or sensitivity + specificity <= 1:
        reason = _reason(n, labelled)
        return Corrected(n, raw, None, None, sensitivity, specificity, reason=reason)
    estimate = (raw + specificity - 1) / (sensitivity + specificity - 1)
    return Corrected(
        n=n,
        raw_rate=raw,
        rate=_cut(estimate),
        interval=_holding(_cut(estimate), _interval(passed, n, labelled, z=normal_quantile(level))),
        sensitivity=sensitivity,
        specificity=specificity,
        clipped=not 0 <= estimate <= 1,
    )


def _reason(n: int, labelled: Labelled) -> Reason:
    if n == 0:
        return "nothing_judged"
    if labelled.human_passes == 0:
        return "no_labelled_passes"
    return "no_labelled_failures" if labelled.human_failures == 0 else "judge_no_better_than_chance"


def _interval(passed: int, n: int, labelled: Labelled, *, z: float) -> tuple[float, float] | None:
    """None where the shrunken sensitivity and specificity do not beat chance, though the raw ones do."""
    raw, raw_variance = _shrunken(passed, n, plus=z * z)
    sensitivity, sensitivity_variance = _shrunken(labelled.both_pass, labelled.human_passes, plus=_PLUS)
    specificity, specificity_variance = _shrunken(labelled.both_fail, labelled.human_failures, plus=_PLUS)
    gain = sensitivity + specificity - 1
    if gain <= 0:
        return None
    rate = _cut((raw + specificity - 1) / gain)
    shift = 2 * z * z * (rate * sensitivity_variance - (1 - rate) * specificity_variance)
    variance = raw_variance + sensitivity_variance * rate**2 + specificity_variance * (1 - rate) ** 2
    half = z * math.sqrt(variance) / gain
    return _cut(rate + shift - half), _cut(rate + shift + half)


def _shrunken(count: int, n: int, *, plus: float) -> tuple[float, float]:
    """A share and its variance after `plus` more observations, half of them positive."""
    total = n + plus
    share = (count + plus / 2) / total
    return share, share * (1 - share) / total


def _holding(rate: float, interval: tuple[float, float] | None) -> tuple[float, float] | None:
    return None if interval is None else (min(interval[0], rate), max(interval[1], rate))


def _cut(share: float) -> float:
    return min(1.0, max(0.0, share))

"""The statistics of one comparison: arrays of two runs over the same items in, figures out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from common.errors import InvalidInput
from common.schemas.comparison import Measured, NonInferiority, Passes, Side
from common.stats import decisions
from common.stats.bootstrap import paired_bootstrap
from common.stats.means import mean, proportion
from common.stats.paired import difference, differences, mcnemar, wilcoxon

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from common.stats.estimate import Estimate

    Bits = NDArray[np.bool_]
    Scores = NDArray[np.float64]

MAX_BOOTSTRAP_PAIRS = 100_000
_RESAMPLES = 2_000
_SHARES_APART = 0.05  # of unscored verdicts: always worth a warning
_SHARES_APART_SURELY = 0.01  # worth one when it is no chance either


@dataclass(frozen=True, slots=True)
class Asked:
    """What is wanted of each comparison. ``seed``: of the bootstrap, None for none. ``planning``: how many items are needed."""

    level: float
    margin: float | None = None
    seed: int | None = None
    planning: bool = True

    def quick(self) -> Asked:
        """The same without what takes long."""
        return replace(self, seed=None, planning=False)


@dataclass(frozen=True, slots=True)
class Sides:
    """Two runs over the same items in the same order, a first. Scores are NaN where there is none."""

    scores: tuple[Scores, Scores]
    passed: tuple[Bits, Bits]
    done: tuple[Bits, Bits]
    clusters: NDArray[Any] | None = None

    def within(self, part: Bits) -> Sides:
        """The items in `part`."""
        return Sides(
            scores=(self.scores[0][part], self.scores[1][part]),
            passed=(self.passed[0][part], self.passed[1][part]),
            done=(self.done[0][part], self.done[1][part]),
            clusters=None if self.clusters is None else self.clusters[part],
        )


def contrast(sides: Sides, asked: Asked) -> dict[str, Any]:
    """The fields of `common.schemas.comparison.Figures`, adjusted p-values aside.

    Raises:
        InvalidInput: a bootstrap over more than `MAX_BOOTSTRAP_PAIRS` pairs.
    """
    scored = ~np.isnan(sides.scores[0]), ~np.isnan(sides.scores[1])
    both = scored[0] & scored[1]
    a, b = sides.scores[0][both], sides.scores[1][both]
    clusters = None if sides.clusters is None else sides.clusters[both]
    estimate = difference(a, b, clusters=clusters, level=asked.level)
    return {
        "a": _side(sides, 0, level=asked.level),
        "b": _side(sides, 1, level=asked.level),
        "paired": len(a),
        "unpaired_a": int(scored[0].sum()) - len(a),
        "unpaired_b": int(scored[1].sum()) - len(a),
        "difference": measured(estimate),
        "wilcoxon_p": wilcoxon(differences(a, b)) if len(a) else None,
        "bootstrap": _bootstrap(a, b, clusters, asked),
        "passes": _passes(sides.passed[0][both], sides.passed[1][both], clusters, level=asked.level),
        "non_inferiority": None if asked.margin is None else _non_inferiority(estimate, asked.margin, level=asked.level),
        "items_needed": _items_needed(estimate, asked) if asked.planning else None,
        "unscored_differs": _unscored_differs(sides, scored),
    }


def measured(estimate: Estimate) -> Measured:
    """An estimate as it is written."""
    return Measured(n=estimate.n, mean=estimate.mean, se=estimate.se, interval=estimate.interval, p=estimate.p, df=estimate.df)


def side(scores: Scores, passed: Bits, done: Bits, *, clusters: NDArray[Any] | None = None, level: float) -> Side:
    """One run's verdicts of a grader."""
    scored = ~np.isnan(scores)
    own = None if clusters is None else clusters[scored]
    return Side(
        scored=int(scored.sum()),
        unscored=int((done & ~scored).sum()),
        pending=int((~done).sum()),
        mean=measured(mean(scores[scored], clusters=own, level=level)),
        pass_rate=measured(proportion(passed[scored], clusters=own, level=level)),
    )


def _side(sides: Sides, which: int, *, level: float) -> Side:
    return side(sides.scores[which], sides.passed[which], sides.done[which], clusters=sides.clusters, level=level)


def _passes(a: Bits, b: Bits, clusters: NDArray[Any] | None, *, level: float) -> Passes:
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    return Passes(
        both=int((a & b).sum()),
        only_a=only_a,
        only_b=only_b,
        neither=int((~a & ~b).sum()),
        difference=measured(difference(a, b, clusters=clusters, level=level)),
        p=mcnemar(only_a, only_b) if len(a) else None,
    )


def _bootstrap(a: Scores, b: Scores, clusters: NDArray[Any] | None, asked: Asked) -> Measured | None:
    if asked.seed is None:
        return None
    if len(a) > MAX_BOOTSTRAP_PAIRS:
        raise InvalidInput(
            f"bootstrap: at most {MAX_BOOTSTRAP_PAIRS} pairs; the interval of so many is as good", pointer="/bootstrap"
        )
    rng = np.random.default_rng(asked.seed)
    return measured(paired_bootstrap(a, b, rng=rng, clusters=clusters, level=asked.level, resamples=_RESAMPLES))


def _non_inferiority(estimate: Estimate, margin: float, *, level: float) -> NonInferiority:
    lower = decisions.lower_bound(estimate, level=level)
    upper = None if lower is None or estimate.mean is None else 2 * estimate.mean - lower
    if decisions.not_worse(estimate, margin, level=level):
        return NonInferiority(margin=margin, verdict="not_worse", lower=lower, upper=upper)
    worse = upper is not None and upper < -margin
    return NonInferiority(margin=margin, verdict="worse" if worse else "undecided", lower=lower, upper=upper)


def _items_needed(estimate: Estimate, asked: Asked) -> int | None:
    """Against the margin where there is one, else against 0; None where it is settled already."""
    sd = decisions.deviation(estimate)
    if estimate.mean is None or estimate.interval is None or sd is None:
        return None
    if asked.margin is not None:
        if _non_inferiority(estimate, asked.margin, level=asked.level).verdict != "undecided":
            return None
        return decisions.items_needed(abs(estimate.mean + asked.margin), sd, level=asked.level, one_sided=True)
    if not estimate.interval[0] <= 0 <= estimate.interval[1]:
        return None
    return decisions.items_needed(abs(estimate.mean), sd, level=asked.level)


def _unscored_differs(sides: Sides, scored: tuple[Bits, Bits]) -> bool:
    counted = sides.done[0] & sides.done[1]
    missing = ~scored[0][counted], ~scored[1][counted]
    if not len(missing[0]):
        return False
    apart = abs(float(missing[0].mean()) - float(missing[1].mean()))
    only_a, only_b = int((missing[0] & ~missing[1]).sum()), int((missing[1] & ~missing[0]).sum())
    surely = mcnemar(only_a, only_b) < 0.05  # noqa: PLR2004 - by convention
    return apart >= _SHARES_APART or (surely and apart >= _SHARES_APART_SURELY)

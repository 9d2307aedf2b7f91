"""Gates: what a run must reach for a build to go on, by itself or against another run.

A verdict that is missing is neither a pass nor a zero, so a gate does not guess it. One over a run holds by default only if
it would hold *whatever* the missing verdicts had been, which is to say at the worst value they could have. One over two
runs is decided by the pairs that both scored, and fails where the runs' unscored verdicts are so different that the pairs
are no fair picture, unless another gate has said how many may be unscored.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from common.schemas.comparison import Comparison, GraderComparison, Measured
    from common.schemas.runs import GraderSummary, RunSummary
    from common.stats.estimate import Estimate

Measure = Literal["pass", "mean"]
Wish = Literal["not worse than", "better than", "at most"]
_SLACK = 1e-9  # 0.1 + 0.2 must reach 0.3
_UNSCORED = "unscored"
_PASS_RATE = " pass rate"  # noqa: S105  # what a grader passes, not what a person types
_AGAINST = re.compile(
    r"(?P<name>.+):\s*(?:(?P<wish>not worse than|better than|at most)\s+(?P<amount>\S+)|(?P<better>better))", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Gate:
    """``measure`` of ``grader`` must be at least ``at_least``: a pass rate in [0, 1], or a mean in the grader's range."""

    grader: str
    measure: Measure
    at_least: float

    def __str__(self) -> str:
        return f"{'mean of ' if self.measure == 'mean' else ''}{self.grader} ≥ {self.at_least:g}"


@dataclass(frozen=True, slots=True)
class GateResult:
    """What became of a gate in one run.

    ``value`` is over the scored verdicts (None: there are none), ``bound`` the least it could be had the ``missing`` ones
    been scored; the gate is judged by ``bound`` unless unscored verdicts were allowed.
    """

    run: str
    gate: Gate
    value: float | None
    bound: float | None
    missing: int
    passed: bool


def parse(text: str) -> Gate:
    """``NAME=VALUE`` or ``mean:NAME=VALUE``; ``pass:NAME=VALUE`` is for graders whose own name begins with ``mean:``.

    Raises:
        click.BadParameter: it is neither, or a pass rate outside [0, 1].
    """
    left, _, number = text.rpartition("=")
    prefix, colon, rest = left.partition(":")
    measure: Measure = "mean" if colon and prefix == "mean" else "pass"
    grader = rest if colon and prefix in ("mean", "pass") else left
    try:
        at_least = float(number)
    except ValueError:
        at_least = math.nan
    if not grader or not math.isfinite(at_least):
        raise click.BadParameter(f"expected NAME=VALUE or mean:NAME=VALUE, got {text!r}")
    if measure == "pass" and not 0 <= at_least <= 1:
        raise click.BadParameter(f"{text!r}: a pass rate lies between 0 and 1; for the mean write mean:{grader}={number}")
    return Gate(grader=grader, measure=measure, at_least=at_least)


def check(summary: RunSummary, gates: Sequence[Gate], *, allow_unscored: bool) -> list[GateResult]:
    """The outcome of every gate in one run, in the order of `gates`. A grader the run does not have fails its gate."""
    graders = {grader.name: grader for grader in summary.graders}
    return [_check(summary, graders.get(gate.grader), gate=gate, allow_unscored=allow_unscored) for gate in gates]


def _check(summary: RunSummary, grader: GraderSummary | None, *, gate: Gate, allow_unscored: bool) -> GateResult:
    if grader is None:
        return GateResult(summary.name, gate, value=None, bound=None, missing=summary.total, passed=False)
    wanted = summary.done if summary.stopped else summary.total  # what a stop rule made needless is not missing
    total = max(wanted, grader.scored + grader.unscored)
    missing = total - grader.scored
    value = grader.pass_rate if gate.measure == "pass" else grader.mean
    worst = 0.0 if gate.measure == "pass" else grader.range[0]
    bound = None if value is None or not total else (grader.scored * value + missing * worst) / total
    counted = value if allow_unscored else bound
    passed = counted is not None and counted >= gate.at_least - _SLACK
    return GateResult(summary.name, gate, value=value, bound=bound, missing=missing, passed=passed)


@dataclass(frozen=True, slots=True)
class PairGate:
    """What the candidate must be against the baseline. ``amount`` is in the score's units, a share for pass rates and unscored.

    ``measure`` is what of ``grader`` is compared; ``at most`` is about unscored verdicts, of every grader.
    """

    text: str
    grader: str
    measure: Measure
    wish: Wish
    amount: float


@dataclass(frozen=True, slots=True)
class PairGateResult:
    """What became of it. ``value`` is the difference b - a (or the share unscored), ``bound`` what decided.

    ``needed``: about how many pairs would settle what is undecided, None where no number would.
    """

    gate: PairGate
    value: float | None
    bound: float | None
    pairs: int
    passed: bool = False
    undecided: bool = False
    needed: int | None = None
    reason: str = ""


def parse_pair(text: str) -> PairGate:
    """``NAME: not worse than X``, ``NAME: better than X`` (or ``better``), ``NAME pass rate: …``, ``unscored: at most N%``.

    Raises:
        click.BadParameter: it is none of these, or the number does not suit it.
    """
    found = _AGAINST.fullmatch(text.strip())
    if found is None:
        raise click.BadParameter(
            f"expected 'NAME: not worse than X', 'NAME: better than X' or 'unscored: at most N%', got {text!r}"
        )
    name = found["name"].strip()
    wish: Wish = "better than" if found["better"] else found["wish"]  # type: ignore[assignment]  # one of the three in the pattern
    measure: Measure = "pass" if name.endswith(_PASS_RATE) else "mean"
    amount = 0.0 if found["better"] else _amount(found["amount"], text, share=measure == "pass" or wish == "at most")
    if wish == "at most" and name != _UNSCORED:
        raise click.BadParameter(f"{text!r}: 'at most' is for unscored verdicts: unscored: at most 2%")
    return PairGate(text.strip(), name.removesuffix(_PASS_RATE), measure, wish, amount)


def _amount(written: str, text: str, *, share: bool) -> float:
    try:
        amount = float(written.removesuffix("%")) / (100 if written.endswith("%") else 1)
    except ValueError:
        amount = math.nan
    if not (0 <= amount < math.inf) or (share and amount > 1) or (written.endswith("%") and not share):
        wanted = "a share such as 0.02 or 2%" if share else "a number from 0 up, in the units of the score"
        raise click.BadParameter(f"{text!r}: expected {wanted}, got {written!r}")
    return amount


def check_pair(found: Comparison, gates: Sequence[PairGate], *, unfit: str = "") -> list[PairGateResult]:
    """The outcome of every gate, in the order of `gates`. Every grader of a gate is in `found`.

    ``unfit`` says why no gate can be decided over these runs: then none has passed, whatever the figures are.
    """
    graders = {grader.name: grader for grader in found.graders}
    watched = any(gate.wish == "at most" for gate in gates)
    results = [
        _check_unscored(found, gate)
        if gate.wish == "at most"
        else _check_pair(graders[gate.grader], gate, level=found.level, watched=watched)
        for gate in gates
    ]
    return (
        [replace(result, passed=False, undecided=True, needed=None, reason=unfit) for result in results] if unfit else results
    )


def told(passed: Sequence[bool]) -> str:
    """What became of all gates, in a few words."""
    failed = passed.count(False)
    return f"{failed} of {len(passed)} gates did not hold" if failed else "every gate held"


def _check_pair(grader: GraderComparison, gate: PairGate, *, level: float, watched: bool) -> PairGateResult:
    from common.stats.decisions import lower_bound

    figures = grader.passes.difference if gate.measure == "pass" else grader.difference
    estimate = _estimate(figures)
    lower = lower_bound(estimate, level=level)
    result = PairGateResult(gate, value=figures.mean, bound=lower, pairs=figures.n)
    if grader.unscored_differs and not watched:
        why = "the runs' unscored verdicts differ too much for the pairs to be fair; accept them with 'unscored: at most N%'"
        return replace(result, reason=why)
    border = -gate.amount if gate.wish == "not worse than" else gate.amount
    if lower is not None and lower > border:
        return replace(result, passed=True, reason="shown")
    if lower is not None and estimate.mean is not None and 2 * estimate.mean - lower < border:
        return replace(result, reason="shown not to be so")
    needed = _needed(estimate, border, level=level)
    about = "no number would settle it as things stand" if needed is None else f"about {needed:,} needed"
    return replace(result, undecided=True, needed=needed, reason=f"undecided: {figures.n:,} items, {about}")


def _needed(estimate: Estimate, border: float, *, level: float) -> int | None:
    from common.stats.decisions import deviation, items_needed

    sd = deviation(estimate)
    if sd is None or estimate.mean is None:
        return None
    return items_needed(abs(estimate.mean - border), sd, level=level, one_sided=True)


def _check_unscored(found: Comparison, gate: PairGate) -> PairGateResult:
    """The candidate's share of verdicts that are unscored or not there yet, of the grader that has most."""
    sides = [grader.b for grader in found.graders]
    totals = [(side.unscored + side.pending, side.scored + side.unscored + side.pending) for side in sides]
    worst = max((missing / total for missing, total in totals if total), default=None)
    passed = worst is not None and worst <= gate.amount + _SLACK
    return PairGateResult(gate, value=worst, bound=worst, pairs=found.pairing.items, passed=passed)


def _estimate(measured: Measured) -> Estimate:
    from common.stats.estimate import Estimate

    return Estimate(n=measured.n, mean=measured.mean, se=measured.se, interval=measured.interval, p=measured.p, df=measured.df)

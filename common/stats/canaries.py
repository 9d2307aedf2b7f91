"""What a canary adds to a run's counters, and what they say together.

``canary.passed|failed|unscored``         canaries by outcome
``canary.failed|unscored.<line>.<grader>``  each that did not pass: its line, and the index of the first grader to blame
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from common.schemas.canaries import CanaryFailure, CanarySummary

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from common.schemas.canaries import Canary, Expectation
    from common.schemas.evaluation import Verdict
    from common.schemas.graders import Grader
    from common.schemas.runs import RunPlan

Outcome = Literal["passed", "failed", "unscored"]
FAILING_SHOWN = 20
_WRONG: tuple[Literal["failed", "unscored"], ...] = ("failed", "unscored")


def canary_counts(graders: Sequence[Grader], verdicts: Sequence[Verdict], canary: Canary, *, line: int) -> dict[str, int]:
    """What one canary adds, besides what its calls cost.

    A wrong verdict weighs more than a missing one. Verdicts of graders that the canary expects nothing of are not looked at.
    """
    found: dict[Outcome, int] = {}
    for index, (grader, verdict) in enumerate(zip(graders, verdicts, strict=True)):
        if (expectation := canary.expected.get(grader.name)) is not None:
            found.setdefault(_outcome(expectation, verdict), index)
    for outcome in _WRONG:
        if outcome in found:
            return {f"canary.{outcome}": 1, f"canary.{outcome}.{line}.{found[outcome]}": 1}
    return {"canary.passed": 1}


def canary_summary(plan: RunPlan, counts: Mapping[str, int]) -> CanarySummary | None:
    """How the run's canaries did; None for a run without any."""
    if not plan.canary_count:
        return None
    passed, failed, unscored = (counts.get(f"canary.{outcome}", 0) for outcome in ("passed", "failed", "unscored"))
    failing = sorted(_failing(plan, counts), key=lambda failure: failure.line)
    return CanarySummary(
        total=plan.canary_count,
        done=passed + failed + unscored,
        passed=passed,
        failed=failed,
        unscored=unscored,
        failing=failing[:FAILING_SHOWN],
    )


def suspicion(canaries: CanarySummary | None) -> str | None:
    """Why a run's figures are not to be believed; None when nothing speaks against them."""
    if canaries is None or not canaries.failed + canaries.unscored:
        return None
    return f"{canaries.failed} of {canaries.done} canaries failed, {canaries.unscored} have no score"


def _outcome(expectation: Expectation, verdict: Verdict) -> Outcome:
    if verdict.score is None:
        return "unscored"
    if expectation.score is not None:
        low, high = expectation.score
        right = low <= verdict.score <= high
    elif expectation.label is not None:
        right = verdict.label == expectation.label
    else:
        right = verdict.passed is expectation.passed
    return "passed" if right else "failed"


def _failing(plan: RunPlan, counts: Mapping[str, int]) -> Iterator[CanaryFailure]:
    for outcome in _WRONG:
        prefix = f"canary.{outcome}."
        for field in counts:
            if field.startswith(prefix):
                line, _, grader = field.removeprefix(prefix).partition(".")
                yield CanaryFailure(line=int(line), grader=plan.graders[int(grader)].name, outcome=outcome)

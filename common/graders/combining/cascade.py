"""Graders one after the other, cheap ones first, until one settles the matter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from common.graders.combining.evidence import ballot, evidence, scores_of
from common.graders.outcome import Score, UnscoredError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from common.graders.combining.evidence import Grade
    from common.graders.context import GradeContext
    from common.schemas.evaluation import Ballot, Verdict
    from common.schemas.graders import CascadeGrader, Settled


async def cascade(grader: CascadeGrader, context: GradeContext, *, grade: Grade) -> Score:
    """Steps by `grade` until one settles; the last always does.

    ``details.decided_by`` names it, and ``details.steps`` says of each step that was asked why it settled nothing.

    Raises:
        UnscoredError: the last step has no score; its code.
    """
    named: list[tuple[str, Verdict]] = []
    steps: list[dict[str, Any]] = []
    for step in grader.steps:
        verdict = await grade(step.grader, context)
        unsettled = None if step.settled_when is None else why_unsettled(step.settled_when, verdict)
        named.append((step.grader.name, verdict))
        steps.append({"name": step.grader.name, "score": verdict.score, "unsettled": unsettled})
        if unsettled is None:
            break
    return _decided(named, steps)


def why_unsettled(settled: Settled, verdict: Verdict) -> str | None:
    """Why a verdict does not settle the matter, None when it does. One without a score never does."""
    if verdict.score is None:
        return f"no score: {verdict.unscored.code}" if verdict.unscored else "no score"
    if settled.max_spread is not None and (apart := _apart(verdict, settled.max_spread)):
        return apart
    if settled.accept_at is None and settled.reject_at is None:
        return None
    accepted = settled.accept_at is not None and verdict.score >= settled.accept_at
    rejected = settled.reject_at is not None and verdict.score <= settled.reject_at
    return None if accepted or rejected else f"the score {verdict.score:.6g} is not clear enough"


def _apart(verdict: Verdict, max_spread: float) -> str | None:
    scores = [each.score for each in verdict.ballots if each.score is not None]
    if len(scores) < len(verdict.ballots):
        return f"{len(verdict.ballots) - len(scores)} of {len(verdict.ballots)} ballots are abstentions"
    if scores and max(scores) - min(scores) > max_spread:
        return f"the ballots go from {min(scores):.6g} to {max(scores):.6g}"
    return None


def _decided(named: Sequence[tuple[str, Verdict]], steps: Sequence[dict[str, Any]]) -> Score:
    name, verdict = named[-1]
    found = evidence(named)
    found["judge"] = verdict.judge
    found["ballots"] = tuple(vote for step, each in named for vote in _ballots(step, each))
    found["details"] = {"decided_by": name, "steps": list(steps), **found["details"]}
    if verdict.unscored is not None:
        raise UnscoredError(verdict.unscored.code, verdict.unscored.message, raw=verdict.unscored.raw, **found)
    (value,) = scores_of([verdict])
    return Score(value, bool(verdict.passed), label=verdict.label, reason=verdict.reason, **found)


def _ballots(step: str, verdict: Verdict) -> Iterator[Ballot]:
    """A step's own vote, then the votes it rests on under the step's name."""
    yield ballot(step, verdict)
    for each in verdict.ballots:
        yield each.model_copy(update={"judge": f"{step}/{each.judge}"})

"""Several graders that vote on one sample."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from common.graders.combining.evidence import average, evidence, most_frequent, require, scores_of, spread, together
from common.graders.outcome import Score, UnscoredError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from common.graders.combining.evidence import Grade
    from common.graders.context import GradeContext
    from common.schemas.evaluation import Verdict
    from common.schemas.graders import PanelGrader

SPLIT = "split"  # the label of votes that do not agree
_PASSED = {True: "pass", False: "fail"}


async def panel(grader: PanelGrader, context: GradeContext, *, grade: Grade) -> Score:
    """All graders at once by `grade`, then their votes. The order of the graders matters to nothing but the ballots' order.

    Raises:
        UnscoredError: ``no_quorum``, or ``split_vote`` for a majority vote without a majority.
    """
    verdicts = await together(grade(member, context) for member in grader.graders)
    named = [(member.name, verdict) for member, verdict in zip(grader.graders, verdicts, strict=True)]
    found = evidence(named)
    scored = require(named, grader.quorum, found)
    if grader.averages:
        return _averaged(grader, scored, found)
    votes = [_vote(grader, verdict) for verdict in scored]
    found["details"]["votes"] = dict(sorted(Counter(votes).items()))
    return _unanimous(votes, found) if grader.combine == "unanimous" else _elected(grader, scored, votes, found)


def _vote(grader: PanelGrader, verdict: Verdict) -> str:
    if grader.votes is not None and verdict.label is not None:
        return verdict.label
    return _PASSED[bool(verdict.passed)]


def _averaged(grader: PanelGrader, scored: Sequence[Verdict], found: dict[str, Any]) -> Score:
    scores = scores_of(scored)
    value = average(scores, grader.combine)
    found["details"]["spread"] = spread(scores)
    reason = f"{grader.combine} of {len(scores)} graders from {min(scores):.6g} to {max(scores):.6g}"
    return Score(value, grader.threshold is not None and value >= grader.threshold, reason=reason, **found)


def _unanimous(votes: Sequence[str], found: dict[str, Any]) -> Score:
    """A pass only if every vote is one. A disagreement is a fail, told apart by its label."""
    label = votes[0] if len(set(votes)) == 1 else SPLIT
    passed = label == _PASSED[True]
    return Score(float(passed), passed, label=label, reason=_told(votes), **found)


def _elected(grader: PanelGrader, scored: Sequence[Verdict], votes: Sequence[str], found: dict[str, Any]) -> Score:
    winner = most_frequent(votes)
    if winner is None and grader.on_split == "fail":
        return Score(0.0, passed=False, label=SPLIT, reason=_told(votes), **found)
    if winner is None:
        raise UnscoredError("split_vote", f"there is no majority: {_told(votes)}", **found)
    chosen = scored[votes.index(winner)]
    passed = bool(chosen.passed)
    (value,) = [float(passed)] if grader.votes is None else scores_of([chosen])
    return Score(value, passed, label=winner, reason=_told(votes), **found)


def _told(votes: Sequence[str]) -> str:
    return ", ".join(f"{count} {vote}" for vote, count in sorted(Counter(votes).items()))

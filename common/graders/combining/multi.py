"""A formula over the scores of several graders."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from common.graders.outcome import REASON_LIMIT, Score, UnscoredError, bounded
from common.schemas.evaluation import Ballot, Verdict
from common.schemas.formula import parse_formula

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from common.graders.context import GradeContext
    from common.schemas.graders import Grader, MultiGrader

    Grade = Callable[[Grader, GradeContext], Awaitable[Verdict]]


async def multi(grader: MultiGrader, context: GradeContext, *, grade: Grade) -> Score:
    """All sub-graders at once by `grade`, then the formula. One sub-grader without a score leaves the whole without one."""
    # All are awaited before a failure is passed on: what they cost is then at least in the gateway's response cache.
    results = await asyncio.gather(*(grade(sub, context) for sub in grader.graders.values()), return_exceptions=True)
    verdicts: dict[str, Verdict] = {}
    for key, result in zip(grader.graders, results, strict=True):
        if isinstance(result, BaseException):
            raise result
        verdicts[key] = result
    evidence = _evidence(verdicts)
    scores = {key: verdict.score for key, verdict in verdicts.items() if verdict.score is not None}
    if len(scores) < len(verdicts):
        raise _unscored(verdicts, evidence)
    value = _calculate(grader, scores, evidence)
    terms = ", ".join(f"{key} = {score:.6g}" for key, score in scores.items())
    reason = bounded(f"{grader.calculate_output} with {terms}", REASON_LIMIT)
    return Score(value, value >= grader.threshold, reason=reason, **evidence)


def _calculate(grader: MultiGrader, scores: Mapping[str, float], evidence: dict[str, Any]) -> float:
    try:
        return parse_formula(grader.calculate_output, frozenset(grader.graders))(scores)
    except ArithmeticError as error:
        raise UnscoredError("formula_error", f"calculate_output: {error}", **evidence) from error


def _evidence(verdicts: Mapping[str, Verdict]) -> dict[str, Any]:
    """What a score or its absence rests on: every sub-grader's ballot and every call."""
    judges = {verdict.judge for verdict in verdicts.values() if verdict.judge}
    prompts = {verdict.prompt_version for verdict in verdicts.values() if verdict.prompt_version}
    return {
        "ballots": tuple(Ballot(judge=key, score=v.score, label=v.label, reason=v.reason) for key, v in verdicts.items()),
        "calls": tuple(call for verdict in verdicts.values() for call in verdict.calls),
        "judge": judges.pop() if len(judges) == 1 else None,
        "prompt_version": "+".join(sorted(prompts)) or None,
    }


def _unscored(verdicts: Mapping[str, Verdict], evidence: dict[str, Any]) -> UnscoredError:
    missing = {key: verdict.unscored for key, verdict in verdicts.items() if verdict.unscored is not None}
    first = next(iter(missing.values()))
    message = "; ".join(f"{key}: {unscored.message}" for key, unscored in missing.items())
    return UnscoredError(first.code, message, raw=first.raw, **evidence)

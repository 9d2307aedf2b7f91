"""A formula over the scores of several graders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from common.graders.combining.evidence import evidence, together
from common.graders.outcome import REASON_LIMIT, Score, UnscoredError, bounded
from common.schemas.formula import parse_formula

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from common.graders.combining.evidence import Grade
    from common.graders.context import GradeContext
    from common.schemas.evaluation import Verdict
    from common.schemas.graders import MultiGrader


async def multi(grader: MultiGrader, context: GradeContext, *, grade: Grade) -> Score:
    """All sub-graders at once by `grade`, then the formula. One sub-grader without a score leaves the whole without one."""
    verdicts = await together(grade(sub, context) for sub in grader.graders.values())
    named = list(zip(grader.graders, verdicts, strict=True))
    found = evidence(named)
    scores = {key: verdict.score for key, verdict in named if verdict.score is not None}
    if len(scores) < len(named):
        raise _unscored(named, found)
    value = _calculate(grader, scores, found)
    terms = ", ".join(f"{key} = {score:.6g}" for key, score in scores.items())
    reason = bounded(f"{grader.calculate_output} with {terms}", REASON_LIMIT)
    return Score(value, value >= grader.threshold, reason=reason, **found)


def _calculate(grader: MultiGrader, scores: Mapping[str, float], found: dict[str, Any]) -> float:
    try:
        return parse_formula(grader.calculate_output, frozenset(grader.graders))(scores)
    except ArithmeticError as error:
        raise UnscoredError("formula_error", f"calculate_output: {error}", **found) from error


def _unscored(named: Sequence[tuple[str, Verdict]], found: dict[str, Any]) -> UnscoredError:
    missing = {key: verdict.unscored for key, verdict in named if verdict.unscored is not None}
    first = next(iter(missing.values()))
    message = "; ".join(f"{key}: {unscored.message}" for key, unscored in missing.items())
    return UnscoredError(first.code, message, raw=first.raw, **found)

"""A judge that gives a number."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from common.graders.judging import Question, ask, compose, verdict_schema
from common.graders.outcome import Score
from common.graders.prompt_files import prompt
from common.graders.reply import read_score

if TYPE_CHECKING:
    from common.graders.context import GradeContext
    from common.schemas.graders import ScoreModelGrader


async def score_model(grader: ScoreModelGrader, context: GradeContext) -> Score:
    """Ask for a score within the grader's range. One outside it is no score."""
    low, high = grader.range
    ends = {"low": f"{low:.15g}", "high": f"{high:.15g}"}
    marker, instructions = context.marker(), prompt("score.v1")
    question = Question(
        model=grader.model,
        messages=compose(instructions, grader.input, context, marker=marker, **ends),
        schema=verdict_schema("score", {"type": "number", "description": f"From {ends['low']} to {ends['high']}."}),
        read=partial(read_score, low=low, high=high),
        marker=marker,
        prompt_version=instructions.version,
        sampling=grader.sampling_params,
    )
    answer = await ask(question, context)
    value, reason = answer.value
    return Score(
        value,
        value >= grader.threshold,
        reason=reason,
        judge=answer.judge,
        prompt_version=answer.prompt_version,
        calls=answer.calls,
    )

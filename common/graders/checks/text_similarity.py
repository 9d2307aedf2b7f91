"""Comparing two texts by a metric."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.graders.checks.similarity import MAX_TEXT_CHARACTERS, similarity
from common.graders.outcome import Score, UnscoredError
from common.graders.template import render

if TYPE_CHECKING:
    from common.graders.context import GradeContext
    from common.schemas.graders import TextSimilarityGrader


async def text_similarity(grader: TextSimilarityGrader, context: GradeContext) -> Score:
    """The similarity of the grader's input to its reference."""
    scope = context.scope
    text, reference = render(grader.input, scope), render(grader.reference, scope)
    if max(len(text), len(reference)) > MAX_TEXT_CHARACTERS:
        raise UnscoredError("text_too_long", f"texts are compared up to {MAX_TEXT_CHARACTERS} characters each")
    value = similarity(grader.evaluation_metric, text, reference)
    return Score(value, value >= grader.threshold)

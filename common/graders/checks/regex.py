"""Looking for a pattern."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.graders.checks.texts import text_of
from common.graders.outcome import Score
from common.schemas.patterns import matches

if TYPE_CHECKING:
    from common.graders.context import GradeContext
    from common.schemas.graders import RegexGrader


async def regex(grader: RegexGrader, context: GradeContext) -> Score:
    """1 when the pattern is found as the grader expects, else 0. Linear in the text, whatever the pattern."""
    found = matches(grader.whole_pattern, text_of(grader.input, context))
    passed = found == (grader.expect == "match")
    return Score(float(passed), passed, reason=None if passed else f"the pattern was {'' if found else 'not '}found")

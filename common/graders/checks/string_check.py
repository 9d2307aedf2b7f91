"""Comparing two strings.

Source: OpenAI's guide "Graders", section "String check graders": eq, ne, like (contains), ilike (contains, ignoring case).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.graders.outcome import Score
from common.graders.template import render

if TYPE_CHECKING:
    from collections.abc import Callable

    from common.graders.context import GradeContext
    from common.schemas.graders import StringCheckGrader

_OPERATIONS: dict[str, Callable[[str, str], bool]] = {
    "eq": lambda text, reference: text == reference,
    "ne": lambda text, reference: text != reference,
    "like": lambda text, reference: reference in text,
    "ilike": lambda text, reference: reference.casefold() in text.casefold(),
}


async def string_check(grader: StringCheckGrader, context: GradeContext) -> Score:
    """1 when the operation holds, else 0."""
    scope = context.scope
    holds = _OPERATIONS[grader.operation](render(grader.input, scope), render(grader.reference, scope))
    return Score(float(holds), holds)

"""How much of what should have been found was found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.graders.judges.claims import share_supported

if TYPE_CHECKING:
    from common.graders.context import GradeContext
    from common.graders.outcome import Score
    from common.schemas.graders import ContextRecallGrader


async def context_recall(grader: ContextRecallGrader, context: GradeContext) -> Score:
    """Claims of the reference that follow from the contexts / claims of the reference.

    Source: ragas' documentation, "Context Recall", https://docs.ragas.io/en/stable/concepts/metrics/available_metrics/context_recall/.
    """
    return await share_supported(grader, context, text=grader.reference)

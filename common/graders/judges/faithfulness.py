"""How much of an answer follows from the contexts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.graders.judges.claims import share_supported

if TYPE_CHECKING:
    from common.graders.context import GradeContext
    from common.graders.outcome import Score
    from common.schemas.graders import FaithfulnessGrader


async def faithfulness(grader: FaithfulnessGrader, context: GradeContext) -> Score:
    """Claims of the answer that follow from the contexts / claims of the answer.

    Source: Es et al. 2023, arXiv:2309.15217, section 3: F = |V| / |S|. An answer without claims has no faithfulness.
    """
    return await share_supported(grader, context, text=grader.answer)

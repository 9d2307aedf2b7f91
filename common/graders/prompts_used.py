"""Which of our prompts a grader asks its judge with."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from common.schemas.graders.base import GraderModel

REPAIR = "repair.v1"
_CLAIMS = ("claims.v1", "support.v1")
_BY_TYPE = {
    "answer_relevance": ("relevance.v1",),
    "context_precision": ("precision.v1",),
    "context_recall": _CLAIMS,
    "conversation_model": ("conversation.v1", "conversation_turn.v1"),
    "faithfulness": _CLAIMS,
    "label_model": ("label.v1",),
    "pairwise_model": ("pairwise.v1", "pairwise_scores.v1"),
    "rubric_model": ("rubric.v1",),
    "score_model": ("score.v1",),
}


def prompts_used(grader: GraderModel) -> set[str]:
    """Versions of every prompt that the grader, or one it is over, may use; empty without a judge."""
    own = set(_BY_TYPE.get(grader.type, ()))
    if own:
        own.add(REPAIR)
    return own.union(*(prompts_used(part) for part in grader.parts.values()))

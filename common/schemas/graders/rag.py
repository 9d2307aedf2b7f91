"""Graders of answers that rest on retrieved contexts.

Their texts are templates. ``contexts`` is one for a list of texts, ``{{item.contexts}}``, or for a single text.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from common.schemas.graders.base import Name
from common.schemas.graders.judges import JudgeGrader

_OUTPUT = "{{sample.output_text}}"
_TEXTS = frozenset({"question", "answer", "contexts", "reference"})


class RagGrader(JudgeGrader):
    """What they share: a score in [0, 1] that passes at ``pass_threshold`` and above, and texts that are templates."""

    name: Name
    question: str = Field(min_length=1)
    pass_threshold: float = 0.5

    @property
    def threshold(self) -> float:
        return self.pass_threshold

    @property
    def templates(self) -> dict[str, str]:
        return {f"/{name}": text for name, text in self if name in _TEXTS}


class FaithfulnessGrader(RagGrader):
    """The share of the answer's claims that follow from the contexts."""

    type: Literal["faithfulness"]
    contexts: str = Field(min_length=1)
    answer: str = Field(_OUTPUT, min_length=1)
    max_claims: int = Field(50, ge=1, le=100)


class AnswerRelevanceGrader(RagGrader):
    """The share of the answer's statements that help to answer the question; 0 for an answer that commits to nothing."""

    type: Literal["answer_relevance"]
    answer: str = Field(_OUTPUT, min_length=1)
    max_claims: int = Field(50, ge=1, le=100)


class ContextPrecisionGrader(RagGrader):
    """Whether the contexts that are useful for the reference rank above those that are not."""

    type: Literal["context_precision"]
    contexts: str = Field(min_length=1)
    reference: str = Field(min_length=1)


class ContextRecallGrader(RagGrader):
    """The share of the reference's claims that follow from the contexts."""

    type: Literal["context_recall"]
    contexts: str = Field(min_length=1)
    reference: str = Field(min_length=1)
    max_claims: int = Field(50, ge=1, le=100)

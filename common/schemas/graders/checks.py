"""Graders that need no model."""

from __future__ import annotations

from typing import Literal

from common.schemas.graders.base import GraderModel, Name, SimilarityMetric


class StringCheckGrader(GraderModel):
    """1 when ``input`` relates to ``reference`` by ``operation``, else 0. ``like`` means contains."""

    type: Literal["string_check"]
    name: Name
    input: str
    reference: str
    operation: Literal["eq", "ne", "like", "ilike"]

    @property
    def templates(self) -> dict[str, str]:
        return {"/input": self.input, "/reference": self.reference}


class TextSimilarityGrader(GraderModel):
    """A similarity in [0, 1]; passes at ``pass_threshold`` and above."""

    type: Literal["text_similarity"]
    name: Name
    input: str
    reference: str
    evaluation_metric: SimilarityMetric
    pass_threshold: float = 0.5

    @property
    def threshold(self) -> float:
        return self.pass_threshold

    @property
    def templates(self) -> dict[str, str]:
        return {"/input": self.input, "/reference": self.reference}


class PythonGrader(GraderModel):
    """Accepted by the parser only so that it can be refused with a clear error: nothing here runs foreign code."""

    type: Literal["python"]
    name: Name
    source: str
    image_tag: str | None = None
    pass_threshold: float | None = None

"""Graders over other graders, and the unions of them all."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from common.schemas.formula import formula_range, parse_formula
from common.schemas.graders.base import GraderModel, Name
from common.schemas.graders.checks import PythonGrader, StringCheckGrader, TextSimilarityGrader
from common.schemas.graders.judges import LabelModelGrader, ScoreModelGrader

SingleGrader = Annotated[
    StringCheckGrader | TextSimilarityGrader | ScoreModelGrader | LabelModelGrader | PythonGrader,
    Field(discriminator="type"),
]


class MultiGrader(GraderModel):
    """A formula over the scores of named sub-graders; what ``calculate_output`` may hold is in `common.schemas.formula`."""

    type: Literal["multi"]
    name: Name
    graders: dict[str, SingleGrader] = Field(min_length=1)
    calculate_output: str = Field(min_length=1, max_length=1000)
    pass_threshold: float = 0.5

    @model_validator(mode="after")
    def _formula_parses(self) -> MultiGrader:
        parse_formula(self.calculate_output, frozenset(self.graders))
        return self

    @property
    def threshold(self) -> float:
        return self.pass_threshold

    @property
    def scale(self) -> tuple[float, float]:
        formula = parse_formula(self.calculate_output, frozenset(self.graders))
        return formula_range(formula, tuple((key, grader.scale) for key, grader in self.graders.items()))

    @property
    def templates(self) -> dict[str, str]:
        return {
            f"/graders/{key.replace('~', '~0').replace('/', '~1')}{pointer}": template
            for key, grader in self.graders.items()
            for pointer, template in grader.templates.items()
        }


Grader = Annotated[
    StringCheckGrader | TextSimilarityGrader | ScoreModelGrader | LabelModelGrader | PythonGrader | MultiGrader,
    Field(discriminator="type"),
]

"""A judge that scores criterion by criterion."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from common.schemas.base import Model
from common.schemas.graders.base import MAX_SCORE, Name
from common.schemas.graders.judges import PromptedGrader

_WIDEST = 100
_HIGHEST_DIGIT = 9
# Criteria are keys of the reply's schema. Source: Anthropic's API answers 400 to other property names in a tool's input schema.
CriterionName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
CriterionText = Annotated[str, StringConstraints(min_length=1, max_length=4000)]


class Criterion(Model):
    """One thing to score. ``levels`` says what some or all scores mean; the ones between stay allowed.

    ``required``: below the grader's pass mark here, the whole does not pass, whatever its score.
    """

    name: CriterionName
    description: CriterionText
    weight: float = Field(1.0, gt=0, le=1e6)
    levels: dict[str, CriterionText] = {}
    required: bool = False


class RubricModelGrader(PromptedGrader):
    """The weighted mean of a judge's scores by criterion, all whole numbers within ``range``.

    Passes at ``pass_threshold`` (default: the middle of the range) and above, if no required criterion is below it. ``each``
    asks for every criterion in a call of its own. ``expected_score`` weighs the scores the judge might have given by their
    probabilities; it needs a range within 0 to 9, because there every score is one token whatever the tokenizer.
    ``top_logprobs`` is how many alternatives it asks for.
    """

    type: Literal["rubric_model"]
    name: Name
    criteria: list[Criterion] = Field(min_length=1, max_length=20)
    range: tuple[int, int] = (1, 5)
    pass_threshold: float | None = None
    each: bool = False
    expected_score: bool = False
    top_logprobs: int = Field(20, ge=1, le=20)

    @model_validator(mode="after")
    def _range_can_be_scored(self) -> RubricModelGrader:
        low, high = self.range
        if not (low < high <= low + _WIDEST and low >= -MAX_SCORE and high <= MAX_SCORE):
            msg = f"range must be [low, high] with low < high, at most {_WIDEST} apart, got [{low}, {high}]"
            raise ValueError(msg)
        if self.expected_score and not (low >= 0 and high <= _HIGHEST_DIGIT):
            msg = f"expected_score needs a range within [0, {_HIGHEST_DIGIT}], where scores are one digit, got [{low}, {high}]"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _required_is_decided_once(self) -> RubricModelGrader:
        if self.samples > 1 and any(criterion.required for criterion in self.criteria):
            msg = "required criteria cannot be sampled: an average of samples does not say whether each was met"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _criteria_are_clear(self) -> RubricModelGrader:
        names = [criterion.name for criterion in self.criteria]
        if len(set(names)) != len(names):
            msg = "criteria must have different names"
            raise ValueError(msg)
        scores = {str(score) for score in range(self.range[0], self.range[1] + 1)}
        for criterion in self.criteria:
            if outside := sorted(set(criterion.levels) - scores):
                msg = f"levels of {criterion.name!r} must be whole numbers within the range, not {outside}"
                raise ValueError(msg)
            if any("{{" in text for text in (criterion.description, *criterion.levels.values())):
                msg = f"{criterion.name!r} holds a variable: criteria are the same for every item; put what varies into input"
                raise ValueError(msg)
        return self

    @property
    def threshold(self) -> float:
        low, high = self.range
        return (low + high) / 2 if self.pass_threshold is None else self.pass_threshold

    @property
    def scale(self) -> tuple[float, float]:
        return self.range

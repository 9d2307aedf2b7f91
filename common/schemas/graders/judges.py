"""Graders that ask one judge."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from common.schemas.graders.base import MAX_SCORE, GraderModel, InputMessage, ModelName, Name, SamplingParams


class ScoreModelGrader(GraderModel):
    """A judge's number within ``range``; passes at ``pass_threshold`` (default: the middle of the range) and above."""

    type: Literal["score_model"]
    name: Name
    model: ModelName
    input: list[InputMessage] = Field(min_length=1)
    range: tuple[float, float] = (0.0, 1.0)
    pass_threshold: float | None = None
    sampling_params: SamplingParams | None = None

    @model_validator(mode="after")
    def _range_is_an_interval(self) -> ScoreModelGrader:
        low, high = self.range
        if not -MAX_SCORE <= low < high <= MAX_SCORE:
            msg = f"range must be [low, high] with low < high, neither beyond {MAX_SCORE:.0f}, got [{low}, {high}]"
            raise ValueError(msg)
        return self

    @property
    def threshold(self) -> float:
        low, high = self.range
        return (low + high) / 2 if self.pass_threshold is None else self.pass_threshold

    @property
    def scale(self) -> tuple[float, float]:
        return self.range

    @property
    def templates(self) -> dict[str, str]:
        return {f"/input/{index}/content": message.text for index, message in enumerate(self.input)}


class LabelModelGrader(GraderModel):
    """A judge's choice among ``labels``; passes when it is one of ``passing_labels``."""

    type: Literal["label_model"]
    name: Name
    model: ModelName
    input: list[InputMessage] = Field(min_length=1)
    labels: list[Name] = Field(min_length=1)
    passing_labels: list[Name]
    sampling_params: SamplingParams | None = None

    @model_validator(mode="after")
    def _passing_labels_are_labels(self) -> LabelModelGrader:
        if len(set(self.labels)) != len(self.labels):
            msg = "labels must differ from each other"
            raise ValueError(msg)
        if unknown := [label for label in self.passing_labels if label not in self.labels]:
            msg = f"passing_labels must be among labels, not {unknown}"
            raise ValueError(msg)
        return self

    @property
    def templates(self) -> dict[str, str]:
        return {f"/input/{index}/content": message.text for index, message in enumerate(self.input)}

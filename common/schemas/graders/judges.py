"""Graders that ask one judge."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from common.schemas.graders.base import MAX_SCORE, GraderModel, InputMessage, ModelName, Name, SamplingParams

MAX_SAMPLES = 32
Combine = Literal["mean", "median", "majority"]


class JudgeGrader(GraderModel):
    """A judge, and how often it is asked about the same sample.

    With ``samples`` above 1 the judge is asked so often, and ``combine`` makes one score of its answers (left out: what
    `combining` says). Fewer than ``min_scored`` answers with a score (left out: the majority of ``samples``) give none.
    """

    model: ModelName
    sampling_params: SamplingParams | None = None
    samples: int = Field(1, ge=1, le=MAX_SAMPLES)
    combine: Combine | None = None
    min_scored: int | None = Field(None, ge=1, le=MAX_SAMPLES)

    @model_validator(mode="after")
    def _quorum_can_be_met(self) -> JudgeGrader:
        if self.min_scored is not None and self.min_scored > self.samples:
            msg = f"min_scored is {self.min_scored}, and there are only {self.samples} samples"
            raise ValueError(msg)
        return self

    @property
    def models(self) -> dict[str, str]:
        return {"/model": self.model, **super().models}

    @property
    def combining(self) -> Combine:
        """How samples become one score."""
        return self.combine or "mean"

    @property
    def quorum(self) -> int:
        """How many samples must have a score."""
        return self.min_scored or self.samples // 2 + 1


class PromptedGrader(JudgeGrader):
    """A judge that is shown messages of the grader's own."""

    input: list[InputMessage] = Field(min_length=1)

    @property
    def templates(self) -> dict[str, str]:
        return {f"/input/{index}/content": message.text for index, message in enumerate(self.input)}


class RangedGrader(JudgeGrader):
    """A judge's number within ``range``; passes at ``pass_threshold`` (default: the middle of the range) and above."""

    range: tuple[float, float] = (0.0, 1.0)
    pass_threshold: float | None = None

    @model_validator(mode="after")
    def _range_is_an_interval(self) -> RangedGrader:
        check_range(self.range)
        return self

    @property
    def threshold(self) -> float:
        low, high = self.range
        return (low + high) / 2 if self.pass_threshold is None else self.pass_threshold

    @property
    def scale(self) -> tuple[float, float]:
        return self.range


class ScoreModelGrader(PromptedGrader, RangedGrader):
    """A judge's number within ``range``; passes at ``pass_threshold`` (default: the middle of the range) and above."""

    type: Literal["score_model"]


class LabelModelGrader(PromptedGrader):
    """A judge's choice among ``labels``; passes when it is one of ``passing_labels``."""

    type: Literal["label_model"]
    labels: list[Name] = Field(min_length=1)
    passing_labels: list[Name]

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
    def combining(self) -> Combine:
        return self.combine or "majority"

    @property
    def votes(self) -> tuple[frozenset[str], frozenset[str]] | None:
        return (frozenset(self.labels), frozenset(self.passing_labels)) if self.combining == "majority" else None


class PairwiseModelGrader(PromptedGrader):
    """A judge's choice between the sample and another output: 1 for a win of ``output_a``, 0.5 for a tie, 0 for a loss.

    The judge sees the pair once in each of ``orders``. Where the two answers differ the pair is ``inconsistent``:
    0.5 (``on_inconsistent`` "tie") or unscored. With ``reply`` "scores" the judge gives each side a number within ``range``;
    sides no further apart than ``tie_margin`` tie. Without ``ties`` the judge has to choose.
    """

    type: Literal["pairwise_model"]
    output_a: str = "{{sample.output_text}}"
    output_b: str
    orders: Literal["both", "ab", "ba"] = "both"
    reply: Literal["choice", "scores"] = "choice"
    ties: bool = True
    on_inconsistent: Literal["tie", "unscored"] = "tie"
    range: tuple[float, float] = (1.0, 10.0)
    tie_margin: float = Field(0.0, ge=0)
    pass_threshold: float = 0.5

    @model_validator(mode="after")
    def _range_and_margin_make_sense(self) -> PairwiseModelGrader:
        check_range(self.range)
        if self.tie_margin and not self.ties:
            msg = "tie_margin is for ties, and there are none"
            raise ValueError(msg)
        return self

    @property
    def threshold(self) -> float:
        return self.pass_threshold

    @property
    def combining(self) -> Combine:
        return self.combine or "majority"

    @property
    def votes(self) -> tuple[frozenset[str], frozenset[str]] | None:
        if self.combining != "majority":
            return None
        worth = {"win": 1.0, "tie": 0.5, "inconsistent": 0.5, "loss": 0.0}
        return frozenset(worth), frozenset(label for label, score in worth.items() if score >= self.pass_threshold)

    @property
    def templates(self) -> dict[str, str]:
        return {**super().templates, "/output_a": self.output_a, "/output_b": self.output_b}


def check_range(ends: tuple[float, float]) -> None:
    """Raises `ValueError` where `ends` are no interval that scores may lie in."""
    low, high = ends
    if not -MAX_SCORE <= low < high <= MAX_SCORE:
        msg = f"range must be [low, high] with low < high, neither beyond {MAX_SCORE:.0f}, got [{low}, {high}]"
        raise ValueError(msg)

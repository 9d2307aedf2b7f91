"""Graders over other graders, and the unions of them all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from common.schemas.base import Model
from common.schemas.formula import formula_range, parse_formula
from common.schemas.graders.base import GraderModel, Name
from common.schemas.graders.checks import (
    JsonSchemaGrader,
    NumericGrader,
    PythonGrader,
    RegexGrader,
    StringCheckGrader,
    TextSimilarityGrader,
    ToolCallsGrader,
    TrajectoryGrader,
)
from common.schemas.graders.conversations import ConversationModelGrader
from common.schemas.graders.judges import LabelModelGrader, PairwiseModelGrader, ScoreModelGrader
from common.schemas.graders.rag import AnswerRelevanceGrader, ContextPrecisionGrader, ContextRecallGrader, FaithfulnessGrader
from common.schemas.graders.rubric import RubricModelGrader

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_Rag = FaithfulnessGrader | AnswerRelevanceGrader | ContextPrecisionGrader | ContextRecallGrader
_Judge = ConversationModelGrader | ScoreModelGrader | LabelModelGrader | PairwiseModelGrader | RubricModelGrader
_Check = (
    StringCheckGrader
    | TextSimilarityGrader
    | JsonSchemaGrader
    | NumericGrader
    | RegexGrader
    | ToolCallsGrader
    | TrajectoryGrader
)
_Single = _Check | _Judge | _Rag | PythonGrader
SingleGrader = Annotated[_Single, Field(discriminator="type")]


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
    def parts(self) -> Mapping[str, GraderModel]:
        return {f"/graders/{key.replace('~', '~0').replace('/', '~1')}": grader for key, grader in self.graders.items()}


class PanelGrader(GraderModel):
    """Several graders that vote on the same sample.

    ``combine``: "majority" of their labels, where all choose among the same ones, else of their passes; "mean" or "median" of
    their scores, which must be on one scale; "unanimous": passes when all pass. Fewer than ``min_scored`` votes (left out:
    all of them for "unanimous", else the majority) leave it unscored. ``on_split``: what a majority vote without a majority is.
    """

    type: Literal["panel"]
    name: Name
    graders: list[SingleGrader] = Field(min_length=2, max_length=16)
    combine: Literal["majority", "mean", "median", "unanimous"] = "majority"
    min_scored: int | None = Field(None, ge=1)
    on_split: Literal["unscored", "fail"] = "unscored"
    pass_threshold: float | None = None

    @model_validator(mode="after")
    def _votes_can_be_counted(self) -> PanelGrader:
        _check_names(self.graders)
        asked = [grader.model_dump(exclude={"name"}) for grader in self.graders]
        if any(one in asked[:number] for number, one in enumerate(asked)):
            msg = "two graders of the panel ask the same, which is one opinion counted twice; ask one of them for more samples"
            raise ValueError(msg)
        if self.min_scored is not None and self.min_scored > len(self.graders):
            msg = f"min_scored is {self.min_scored}, and there are only {len(self.graders)} graders"
            raise ValueError(msg)
        if self.averages:
            _check_scales(self.graders)
        elif self.pass_threshold is not None:
            msg = f"pass_threshold is for 'mean' and 'median'; with {self.combine!r} the votes decide"
            raise ValueError(msg)
        return self

    @property
    def averages(self) -> bool:
        """Whether scores are combined, and not votes."""
        return self.combine in ("mean", "median")

    @property
    def quorum(self) -> int:
        """How many graders must have a score."""
        return self.min_scored or (len(self.graders) if self.combine == "unanimous" else len(self.graders) // 2 + 1)

    @property
    def threshold(self) -> float | None:
        if not self.averages:
            return None
        low, high = self.scale
        return (low + high) / 2 if self.pass_threshold is None else self.pass_threshold

    @property
    def scale(self) -> tuple[float, float]:
        return self.graders[0].scale if self.averages else (0.0, 1.0)

    @property
    def votes(self) -> tuple[frozenset[str], frozenset[str]] | None:
        """The labels that are voted on; None where passing is."""
        first = self.graders[0].votes
        return first if self.combine == "majority" and all(grader.votes == first for grader in self.graders) else None

    @property
    def parts(self) -> Mapping[str, GraderModel]:
        return {f"/graders/{number}": grader for number, grader in enumerate(self.graders)}


class Settled(Model):
    """When a step's verdict stands: score at or above ``accept_at``, or at or below ``reject_at``, if either is given.

    With ``max_spread`` there must also be no abstention among its ballots, and no two further apart than that.
    """

    accept_at: float | None = None
    reject_at: float | None = None
    max_spread: float | None = Field(None, ge=0)

    @model_validator(mode="after")
    def _can_settle(self) -> Settled:
        if self.accept_at is None and self.reject_at is None and self.max_spread is None:
            msg = "say when this step settles: accept_at, reject_at or max_spread"
            raise ValueError(msg)
        if self.accept_at is not None and self.reject_at is not None and self.reject_at >= self.accept_at:
            msg = "reject_at must be below accept_at"
            raise ValueError(msg)
        return self


class CascadeStep(Model):
    """One grader of a cascade; every step but the last says when it settles the matter."""

    grader: Annotated[_Single | PanelGrader, Field(discriminator="type")]
    settled_when: Settled | None = None

    @model_validator(mode="after")
    def _spread_is_of_several(self) -> CascadeStep:
        if self.settled_when is not None and self.settled_when.max_spread is not None and not _has_ballots(self.grader):
            msg = "max_spread compares ballots: give the grader samples, both orders of a pair, or a panel"
            raise ValueError(msg)
        return self


class CascadeGrader(GraderModel):
    """Graders asked one after the other, cheap ones first, until one settles the matter; the last one always does.

    Score, label and pass are those of the step that decided.
    """

    type: Literal["cascade"]
    name: Name
    steps: list[CascadeStep] = Field(min_length=2, max_length=8)

    @model_validator(mode="after")
    def _steps_lead_on(self) -> CascadeGrader:
        graders = [step.grader for step in self.steps]
        _check_names(graders)
        _check_scales(graders)
        if any(step.settled_when is None for step in self.steps[:-1]):
            msg = "every step but the last needs settled_when"
            raise ValueError(msg)
        if self.steps[-1].settled_when is not None:
            msg = "the last step always decides: it takes no settled_when"
            raise ValueError(msg)
        return self

    @property
    def scale(self) -> tuple[float, float]:
        return self.steps[-1].grader.scale

    @property
    def parts(self) -> Mapping[str, GraderModel]:
        return {f"/steps/{number}/grader": step.grader for number, step in enumerate(self.steps)}


def _check_names(graders: Sequence[SingleGrader | PanelGrader]) -> None:
    if len({grader.name for grader in graders}) < len(graders):
        msg = "graders must have different names: ballots are told apart by them"
        raise ValueError(msg)


def _check_scales(graders: Sequence[SingleGrader | PanelGrader]) -> None:
    scales = list(dict.fromkeys(grader.scale for grader in graders))
    if len(scales) > 1:
        found = ", ".join(f"[{low:g}, {high:g}]" for low, high in scales)
        msg = f"scores of different scales cannot stand for each other, got {found}; give the graders one range"
        raise ValueError(msg)


def _has_ballots(grader: SingleGrader | PanelGrader) -> bool:
    if isinstance(grader, PairwiseModelGrader) and grader.orders == "both":
        return True
    return isinstance(grader, PanelGrader) or getattr(grader, "samples", 1) > 1


Grader = Annotated[_Single | MultiGrader | PanelGrader | CascadeGrader, Field(discriminator="type")]

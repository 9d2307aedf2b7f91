"""Graders, in the JSON of OpenAI's Evals and graders API, and Knudge's own in the same style."""

from common.schemas.graders.base import (
    MAX_SCORE,
    GraderModel,
    InputMessage,
    ModelName,
    Name,
    ReasoningEffort,
    SamplingParams,
    SimilarityMetric,
    TextContent,
)
from common.schemas.graders.checks import PythonGrader, StringCheckGrader, TextSimilarityGrader
from common.schemas.graders.combined import (
    CascadeGrader,
    CascadeStep,
    Grader,
    MultiGrader,
    PanelGrader,
    Settled,
    SingleGrader,
)
from common.schemas.graders.judges import JudgeGrader, LabelModelGrader, PairwiseModelGrader, ScoreModelGrader
from common.schemas.graders.rag import AnswerRelevanceGrader, ContextPrecisionGrader, ContextRecallGrader, FaithfulnessGrader
from common.schemas.graders.rubric import Criterion, RubricModelGrader

__all__ = [
    "MAX_SCORE",
    "AnswerRelevanceGrader",
    "CascadeGrader",
    "CascadeStep",
    "ContextPrecisionGrader",
    "ContextRecallGrader",
    "Criterion",
    "FaithfulnessGrader",
    "Grader",
    "GraderModel",
    "InputMessage",
    "JudgeGrader",
    "LabelModelGrader",
    "ModelName",
    "MultiGrader",
    "Name",
    "PairwiseModelGrader",
    "PanelGrader",
    "PythonGrader",
    "ReasoningEffort",
    "RubricModelGrader",
    "SamplingParams",
    "ScoreModelGrader",
    "Settled",
    "SimilarityMetric",
    "SingleGrader",
    "StringCheckGrader",
    "TextContent",
    "TextSimilarityGrader",
]

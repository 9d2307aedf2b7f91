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
from common.schemas.graders.combined import Grader, MultiGrader, SingleGrader
from common.schemas.graders.judges import LabelModelGrader, ScoreModelGrader

__all__ = [
    "MAX_SCORE",
    "Grader",
    "GraderModel",
    "InputMessage",
    "LabelModelGrader",
    "ModelName",
    "MultiGrader",
    "Name",
    "PythonGrader",
    "ReasoningEffort",
    "SamplingParams",
    "ScoreModelGrader",
    "SimilarityMetric",
    "SingleGrader",
    "StringCheckGrader",
    "TextContent",
    "TextSimilarityGrader",
]

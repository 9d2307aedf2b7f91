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
from common.schemas.graders.checks import (
    ArgumentMatcher,
    JsonSchemaGrader,
    NumericGrader,
    PythonGrader,
    RegexGrader,
    StringCheckGrader,
    TextSimilarityGrader,
    ToolCall,
    ToolCallsGrader,
    TrajectoryGrader,
)
from common.schemas.graders.combined import (
    CascadeGrader,
    CascadeStep,
    Grader,
    MultiGrader,
    PanelGrader,
    Settled,
    SingleGrader,
)
from common.schemas.graders.conversations import ConversationModelGrader
from common.schemas.graders.judges import JudgeGrader, LabelModelGrader, PairwiseModelGrader, ScoreModelGrader
from common.schemas.graders.rag import AnswerRelevanceGrader, ContextPrecisionGrader, ContextRecallGrader, FaithfulnessGrader
from common.schemas.graders.rubric import Criterion, RubricModelGrader

__all__ = [
    "MAX_SCORE",
    "AnswerRelevanceGrader",
    "ArgumentMatcher",
    "CascadeGrader",
    "CascadeStep",
    "ContextPrecisionGrader",
    "ContextRecallGrader",
    "ConversationModelGrader",
    "Criterion",
    "FaithfulnessGrader",
    "Grader",
    "GraderModel",
    "InputMessage",
    "JsonSchemaGrader",
    "JudgeGrader",
    "LabelModelGrader",
    "ModelName",
    "MultiGrader",
    "Name",
    "NumericGrader",
    "PairwiseModelGrader",
    "PanelGrader",
    "PythonGrader",
    "ReasoningEffort",
    "RegexGrader",
    "RubricModelGrader",
    "SamplingParams",
    "ScoreModelGrader",
    "Settled",
    "SimilarityMetric",
    "SingleGrader",
    "StringCheckGrader",
    "TextContent",
    "TextSimilarityGrader",
    "ToolCall",
    "ToolCallsGrader",
    "TrajectoryGrader",
]

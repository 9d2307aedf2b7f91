"""What graders are made of.

Source: the ``openai`` package, ``openai.types.graders`` and ``openai.types.eval_create_params`` (3.52).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, StringConstraints

from common.schemas.base import Model

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_SCORE = 1e7  # no score is further from 0, so that sums of millions of squares stay exact in 64-bit counters
Name = Annotated[str, StringConstraints(min_length=1, max_length=256)]
ModelName = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Role = Literal["user", "assistant", "system", "developer"]
SimilarityMetric = Literal[
    "cosine", "fuzzy_match", "bleu", "gleu", "meteor", "rouge_1", "rouge_2", "rouge_3", "rouge_4", "rouge_5", "rouge_l"
]
ReasoningEffort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class TextContent(Model):
    """A text block; images and audio are refused, because no grader here could judge them honestly yet."""

    type: Literal["input_text", "output_text"]
    text: str


Content = str | TextContent | list[str | TextContent]


class InputMessage(Model):
    """One message of a judge's prompt; its text may hold ``{{item.x}}`` and ``{{sample.y}}``."""

    role: Role
    content: Content
    type: Literal["message"] = "message"

    @property
    def text(self) -> str:
        """The message's text, blocks joined by newlines."""
        blocks = self.content if isinstance(self.content, list) else [self.content]
        return "\n".join(block if isinstance(block, str) else block.text for block in blocks)


class SamplingParams(Model):
    """How the judge is sampled. ``max_completions_tokens`` is OpenAI's own spelling here."""

    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    seed: int | None = None
    max_completions_tokens: int | None = Field(None, ge=1)
    reasoning_effort: ReasoningEffort | None = None


class GraderModel(Model):
    """What the parts that are not graders need to know of one: its scale, where it passes, and its templates."""

    type: str
    name: Name

    @property
    def threshold(self) -> float | None:
        """The lowest passing score; None where passing is not a matter of a pass mark."""
        return None

    @property
    def scale(self) -> tuple[float, float]:
        """Lowest and highest score."""
        return 0.0, 1.0

    @property
    def votes(self) -> tuple[frozenset[str], frozenset[str]] | None:
        """The labels it chooses among and those of them that pass; None where it chooses none."""
        return None

    @property
    def parts(self) -> Mapping[str, GraderModel]:
        """The graders that this one is over, by JSON pointer within it."""
        return {}

    @property
    def models(self) -> dict[str, str]:
        """Every model that is asked, by JSON pointer within the grader; those of its parts as well."""
        return {f"{place}{pointer}": name for place, part in self.parts.items() for pointer, name in part.models.items()}

    @property
    def templates(self) -> dict[str, str]:
        """Every text that may hold ``{{variables}}``, by JSON pointer within the grader; those of its parts as well."""
        return {f"{place}{pointer}": text for place, part in self.parts.items() for pointer, text in part.templates.items()}

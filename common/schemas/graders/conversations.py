"""Graders of conversations."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from common.schemas.graders.judges import JudgeGrader, check_range


class ConversationModelGrader(JudgeGrader):
    """A judge's number within ``range`` for a conversation, by ``criteria``; passes at ``pass_threshold`` and above.

    ``messages`` is where it stands; ``reply`` is a text of the assistant after it, where the sample is only that. With
    ``each_turn`` every text of the assistant is judged in a call of its own, with all that came before, and ``turns`` makes
    one score of them: the "mean", or the "min".
    """

    type: Literal["conversation_model"]
    messages: str = "{{sample.messages}}"
    reply: str | None = None
    criteria: str = Field(min_length=1, max_length=10_000)
    range: tuple[float, float] = (0.0, 1.0)
    pass_threshold: float | None = None
    each_turn: bool = False
    turns: Literal["mean", "min"] = "mean"

    @model_validator(mode="after")
    def _range_is_an_interval(self) -> ConversationModelGrader:
        check_range(self.range)
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
        reply = {} if self.reply is None else {"/reply": self.reply}
        return {"/messages": self.messages, **reply, "/criteria": self.criteria}

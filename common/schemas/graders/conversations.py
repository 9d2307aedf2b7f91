"""Graders of conversations."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from common.schemas.graders.judges import RangedGrader


class ConversationModelGrader(RangedGrader):
    """A judge's number within ``range`` for a conversation, by ``criteria``; passes at ``pass_threshold`` and above.

    ``messages`` is where it stands; ``reply`` is a text of the assistant after it, where the sample is only that. With
    ``each_turn`` every text of the assistant is judged in a call of its own, with all that came before, and ``turns`` makes
    one score of them: the "mean", or the "min".
    """

    type: Literal["conversation_model"]
    messages: str = "{{sample.messages}}"
    reply: str | None = None
    criteria: str = Field(min_length=1, max_length=10_000)
    each_turn: bool = False
    turns: Literal["mean", "min"] = "mean"

    @property
    def templates(self) -> dict[str, str]:
        reply = {} if self.reply is None else {"/reply": self.reply}
        return {"/messages": self.messages, **reply, "/criteria": self.criteria}

"""Conversations as a judge sees them: every message fenced on its own, its number and role in the fence's name.

A role stands nowhere but in a line with the call's random marker, so that no message can pass for another's.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from common.graders.fencing import fence
from common.graders.outcome import UnscoredError

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_MESSAGES = 200
MAX_CHARACTERS = 100_000
_ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
_TEXTS = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal"}  # part: the key of its text


@dataclass(frozen=True, slots=True)
class Turn:
    """A message, counted from 1. ``calls`` is the JSON of the tool calls in it, empty where there are none."""

    number: int
    role: str
    text: str
    calls: str = ""

    @property
    def judged(self) -> bool:
        """Whether it is a text of the assistant."""
        return self.role == "assistant" and bool(self.text.strip())


def read_messages(value: Any) -> tuple[Turn, ...]:
    """`value`, parsed JSON or JSON text, as messages in the form of Chat Completions.

    Raises:
        UnscoredError: ``conversation_invalid``, which says where, or ``conversation_too_long``.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise UnscoredError("conversation_invalid", "the messages are neither a list nor JSON of one") from None
    if not isinstance(value, list) or not value:
        raise UnscoredError("conversation_invalid", "expected a list of messages with at least one")
    if len(value) > MAX_MESSAGES:
        raise UnscoredError("conversation_too_long", f"there are {len(value)} messages; at most {MAX_MESSAGES} are judged")
    return tuple(_turn(message, number) for number, message in enumerate(value, start=1))


def checked(turns: tuple[Turn, ...]) -> tuple[Turn, ...]:
    """`turns`, where there is something to judge in them and not too much. Raises `UnscoredError`."""
    if sum(len(turn.text) + len(turn.calls) for turn in turns) > MAX_CHARACTERS:
        raise UnscoredError("conversation_too_long", f"conversations are judged up to {MAX_CHARACTERS} characters")
    if not any(turn.judged for turn in turns):
        raise UnscoredError("conversation_invalid", "the assistant says nothing in it")
    return turns


def transcript(turns: Iterable[Turn], *, marker: str) -> str:
    """Every message between ``<data-MARKER name="message.NUMBER.ROLE">`` and its end, tool calls in a fence after it."""
    fences = []
    for turn in turns:
        name = f"message.{turn.number}.{turn.role}"
        if turn.text or not turn.calls:
            fences.append(fence(name, turn.text, marker=marker))
        if turn.calls:
            fences.append(fence(f"{name}.tool_calls", turn.calls, marker=marker))
    return "\n\n".join(fences)


def _turn(message: Any, number: int) -> Turn:
    role = message.get("role") if isinstance(message, dict) else None
    if not isinstance(role, str) or role not in _ROLES:
        raise UnscoredError("conversation_invalid", f"message {number} has no role, or none of {', '.join(sorted(_ROLES))}")
    calls = message.get("tool_calls") or []
    try:
        told = json.dumps(calls, ensure_ascii=False) if calls else ""
    except RecursionError:
        raise UnscoredError("conversation_invalid", f"message {number} has tool calls that are nested too deeply") from None
    return Turn(number, role, _text(message.get("content"), number), told)


def _text(content: Any, number: int) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    parts = [_part(part) for part in content] if isinstance(content, list) else [None]
    if None in parts:
        raise UnscoredError("conversation_invalid", f"message {number} has content that is no text")
    return "\n".join(part for part in parts if part is not None)


def _part(part: Any) -> str | None:
    if isinstance(part, str):
        return part
    kind = part.get("type") if isinstance(part, dict) else None
    text = part.get(_TEXTS[kind]) if isinstance(kind, str) and kind in _TEXTS else None
    return text if isinstance(text, str) else None

"""Tool calls as they stand in samples and items.

Read are OpenAI's Chat Completions form ``{"function": {"name", "arguments": "<JSON>"}}``, the Responses form and the plain one,
``{"name", "arguments"}`` with the arguments as JSON text or as an object; and messages, whose calls are those in them.
Source: OpenAI's API reference, "Chat Completions", object ``tool_calls``; "Responses", item ``function_call``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from common.graders.outcome import UnscoredError, bounded
from common.graders.template import value_of

if TYPE_CHECKING:
    from common.graders.context import GradeContext

_SHOWN = 200  # characters of a call in a reason


@dataclass(frozen=True, slots=True)
class Call:
    """One call. ``arguments`` is None where what the model wrote is no JSON object; ``written`` is the same for equal ones."""

    name: str
    arguments: dict[str, Any] | None
    written: str

    def __str__(self) -> str:
        return bounded(f"{self.name}({self.written})", _SHOWN)


def sample_calls(place: str | None, context: GradeContext, *, limit: int, messages: bool = False) -> list[Call]:
    """The sample's calls, at `place` or where samples have them. A sample that has an output and no calls made none.

    Args:
        place: A template; None for ``sample.messages`` (with `messages`), ``sample.output_tools``, ``sample.tool_calls``.
        context: The sample.
        limit: The most calls there may be.
        messages: Whether it may be a list of messages.

    Raises:
        UnscoredError: ``tool_calls_invalid`` or ``too_many_tool_calls``; or as `value_of`.
        UnknownVariable: as `value_of`.
    """
    if place is None:
        names = ("messages", "output_tools", "tool_calls") if messages else ("output_tools", "tool_calls")
        sample = context.scope["sample"]
        found = next((name for name in names if sample.get(name) is not None), None)
        if found is None and "output_text" in sample:
            return []
        place = f"{{{{sample.{found or names[-2]}}}}}"
    value = _parsed(value_of(place, context.scope))
    if messages:
        value = _in_messages(value)
    return read_calls(value, limit=limit)


def read_calls(value: Any, *, limit: int) -> list[Call]:
    """`value`, parsed JSON or JSON text, as calls.

    Raises:
        UnscoredError: ``tool_calls_invalid``, or ``too_many_tool_calls``.
    """
    value = _parsed(value)
    if not isinstance(value, list):
        raise UnscoredError("tool_calls_invalid", "expected a list of tool calls")
    if len(value) > limit:
        raise UnscoredError("too_many_tool_calls", f"there are {len(value)} tool calls; at most {limit} are looked at")
    return [_call(each, number) for number, each in enumerate(value)]


def _call(value: Any, number: int) -> Call:
    inner = value.get("function", value) if isinstance(value, dict) else None
    name = inner.get("name") if isinstance(inner, dict) else None
    if not isinstance(inner, dict) or not isinstance(name, str):
        raise UnscoredError("tool_calls_invalid", f"tool call {number} has no name")
    given = inner.get("arguments")
    arguments = {} if given in (None, "") else _parsed(given)
    try:
        written = json.dumps(arguments, ensure_ascii=False, sort_keys=True)
    except RecursionError:
        arguments, written = None, "nested too deeply"
    return Call(name, arguments if isinstance(arguments, dict) else None, written)


def _parsed(value: Any) -> Any:
    """JSON text as what it says; what is none stays as it is."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _in_messages(value: Any) -> Any:
    """The calls in a list of messages; a list that has no message in it is one of calls."""
    if not isinstance(value, list) or not any(isinstance(entry, dict) and "role" in entry for entry in value):
        return value
    calls: list[Any] = []
    for entry in value:
        if not isinstance(entry, dict) or not isinstance(entry.get("tool_calls") or [], list):
            raise UnscoredError("tool_calls_invalid", "the messages are no list of objects, or one's tool_calls are no list")
        calls += entry.get("tool_calls") or []
        if entry.get("type") == "function_call":
            calls.append(entry)
    return calls

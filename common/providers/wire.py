"""What the wire formats share: finish reasons, token counts, logprobs, text out of content parts, a schema in words."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import replace
from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING, Any

import orjson

from common.errors import MalformedReply
from common.schemas.completion import TokenLogprob
from common.schemas.evaluation import MICRO, Usage

if TYPE_CHECKING:
    from collections.abc import Iterable

    from common.errors import RateHints
    from common.schemas.completion import FinishReason, JsonSchema, StreamChunk

FINISH_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "error": "error",
}


# More than any model reads or writes in one call, and than any call costs: a number above is a mistake or a trick.
_MOST_TOKENS = 1_000_000_000
_MOST_USD = 1_000_000


def usage_of(prompt: Iterable[object], completion: Iterable[object], *, cached: object, reasoning: object) -> Usage:
    """Token counts out of foreign JSON, those of prompt and completion summed up; what is missing or null counts 0.

    All zero, which stands for unknown, where any of them is not a count, or more is cached than was sent: half of a usage
    would make a bill that is too small.
    """
    try:
        told = Usage(
            prompt_tokens=sum(map(_count, prompt)),
            completion_tokens=sum(map(_count, completion)),
            cached_tokens=_count(cached),
            reasoning_tokens=_count(reasoning),
        )
    except ValueError:
        return Usage()
    return told if told.cached_tokens <= told.prompt_tokens else Usage()


def _count(value: object) -> int:
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MOST_TOKENS:
        raise ValueError
    return value


def usage_of_chat(usage: object) -> Usage:
    """Chat Completions' ``usage``. All zero where the server sent none: such a call's cost is unknown."""
    if not isinstance(usage, dict):
        return Usage()
    return usage_of(
        [usage.get("prompt_tokens")],
        [usage.get("completion_tokens")],
        cached=inner(usage, "prompt_tokens_details").get("cached_tokens"),
        reasoning=inner(usage, "completion_tokens_details").get("reasoning_tokens"),
    )


def microusd(dollars: object) -> int | None:
    """Dollars out of foreign JSON in millionths, rounded half up; None for anything that is no sum of money."""
    if isinstance(dollars, bool) or not isinstance(dollars, int | float) or not math.isfinite(dollars) or dollars < 0:
        return None
    return int((Decimal(repr(dollars)) * MICRO).quantize(Decimal(1), ROUND_HALF_UP))


def charged_microusd(dollars: object) -> int | None:
    """As `microusd`, of what a provider says that a call cost; None also for more than any call costs."""
    return None if isinstance(dollars, int | float) and dollars > _MOST_USD else microusd(dollars)


def logprobs_of(tokens: object) -> tuple[TokenLogprob, ...] | None:
    """OpenAI's list of ``{"token", "logprob", "top_logprobs"}``; None where there is none."""
    if not isinstance(tokens, list):
        return None
    read = [(token_logprob(entry), entry) for entry in tokens]
    return tuple(TokenLogprob(*pair, top_of(entry.get("top_logprobs"))) for pair, entry in read if pair is not None)


def top_of(entries: object) -> tuple[tuple[str, float], ...]:
    """Alternatives of one token, the likeliest first."""
    pairs = [pair for entry in entries if (pair := token_logprob(entry))] if isinstance(entries, list) else []
    return tuple(sorted(pairs, key=lambda pair: -pair[1]))


def token_logprob(entry: object, name: str = "logprob") -> tuple[str, float] | None:
    """Token and logarithm, None when either is missing or no number."""
    if not isinstance(entry, dict) or not isinstance(entry.get("token"), str):
        return None
    value = entry.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return entry["token"], float(value)


def event_object(content: bytes, model: str) -> dict[str, Any]:
    """The JSON object in a server-sent event. Raises `MalformedReply`."""
    try:
        data = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise MalformedReply(f"{model}: a piece of the stream is not JSON", model=model) from error
    if not isinstance(data, dict):
        raise MalformedReply(f"{model}: a piece of the stream is not a JSON object", model=model)
    return data


def opened(chunk: StreamChunk, *, first: bool, hints: RateHints | None) -> StreamChunk:
    """`chunk` with the ``hints`` of its answer, and with the role that Chat Completions puts into the first delta."""
    delta = {"role": "assistant", **chunk.delta} if first else chunk.delta
    return replace(chunk, delta=delta, hints=hints)


def inner(data: dict[str, Any], name: str) -> dict[str, Any]:
    """An object within an object; empty where there is none."""
    value = data.get(name)
    return value if isinstance(value, dict) else {}


def text_of(content: object) -> str:
    """A message's text: as it is, or its text parts joined."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return "".join(part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str))


def utf8_length(text: str) -> int:
    """Bytes of `text` in UTF-8, half a character as three.

    orjson leaves the encoding with the string, for `encode` and for whoever writes the same string as JSON next. Of a megabyte,
    that saves half a millisecond.
    """
    if text.isascii():
        return len(text)
    with suppress(orjson.JSONEncodeError):
        orjson.dumps(text)
    return len(text.encode("utf-8", "surrogatepass"))


def with_schema_in_words(messages: list[dict[str, Any]], wanted: JsonSchema) -> list[dict[str, Any]]:
    """`messages` that ask for the schema, for models that have neither structured output nor tools.

    The words join the last message where that is the user's text: many chat templates take no two user turns in a row.
    """
    schema = orjson.dumps(wanted.schema).decode()
    words = f"Answer with one JSON object and nothing else, no code fence. It must be valid against this JSON Schema:\n{schema}"
    *earlier, last = messages
    if last["role"] == "user" and isinstance(last["content"], str):
        return [*earlier, {**last, "content": f"{last['content']}\n\n{words}"}]
    return [*messages, {"role": "user", "content": words}]

"""What the simulator says: a verdict when JSON is asked for, a short plain text otherwise. Always the same to the same."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING, Any
from zlib import crc32

import orjson

from simulator.judging import fill, judge
from simulator.retrieval import findings

if TYPE_CHECKING:
    from simulator.faults import Fault

MODEL = "simulated-judge"
REFUSAL = "I'm sorry, I can't help with that. (simulated)"
_SCHEMA_IN_WORDS = re.compile(r"JSON Schema:\s*\n(\{.*\})\s*$", re.DOTALL)
_ANY_JSON = {"type": "object", "properties": {"reason": {"type": "string"}, "score": {"type": "number"}}}
_CHARACTERS_PER_TOKEN = 4
_TOKENS = re.compile(r"[0-9]|[^0-9]{1,4}")
_LAST_DIGIT = 9
_SURE, _UNSURE = 0.99, 0.7
_OPENINGS = ("Here is a simulated answer", "A simulated answer", "This answer is simulated")


@dataclass(frozen=True, slots=True)
class Answer:
    """The message of a reply. ``tool`` is the function whose arguments the text is, when a tool had to be called."""

    text: str
    finish_reason: str = "stop"
    refusal: str | None = None
    tool: str | None = None
    prompt_tokens: int = 0
    logprobs: list[dict[str, Any]] | None = None

    @property
    def completion_tokens(self) -> int:
        """Tokens of the answer, at four characters each."""
        return len(self.refusal or self.text) // _CHARACTERS_PER_TOKEN + 1


def answer(body: dict[str, Any], *, seed: int, fault: Fault | None = None) -> Answer:
    """The answer to a Chat Completions request, spoilt by `fault` where that is one of the text's."""
    texts = [_text(message.get("content")) for message in body.get("messages", [])]
    prompt_tokens = sum(map(len, texts)) // _CHARACTERS_PER_TOKEN + 4 * len(texts)
    schema, tool = _wanted(body, texts)
    if fault == "refusal":
        return Answer("", refusal=REFUSAL, prompt_tokens=prompt_tokens)
    text = _plain(texts, seed) if schema is None else orjson.dumps(_opinion(schema, texts, seed)).decode()
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    finish = "stop"
    if fault == "truncated":
        text, finish = text[: len(text) // 2], "length"
    elif isinstance(limit, int) and len(text) > limit * _CHARACTERS_PER_TOKEN:
        text, finish = text[: limit * _CHARACTERS_PER_TOKEN], "length"
    said = _spoilt(text, fault)
    told = _logprobs(said, body.get("top_logprobs") or 0) if body.get("logprobs") is True and tool is None else None
    return Answer(said, finish_reason=finish, tool=tool, prompt_tokens=prompt_tokens, logprobs=told)


def _opinion(schema: dict[str, Any], texts: list[str], seed: int) -> Any:
    found = findings(schema, texts)
    return fill(schema, judge(texts, seed=seed)) if found is None else found


def _logprobs(text: str, top: int) -> list[dict[str, Any]]:
    """A digit is a token and unsure of itself, its neighbours being likely as well; every other token is sure."""
    tokens = []
    for token in _TOKENS.findall(text):
        likely = {token: _SURE}
        if token.isdecimal():
            around = [str(int(token) + step) for step in (-1, 1) if 0 <= int(token) + step <= _LAST_DIGIT]
            likely = {token: _UNSURE, **dict.fromkeys(around, (1 - _UNSURE) / len(around))}
        chances = [{"token": name, "logprob": log(chance), "bytes": list(name.encode())} for name, chance in likely.items()]
        tokens.append({**chances[0], "top_logprobs": chances[:top]})
    return tokens


def _spoilt(text: str, fault: Fault | None) -> str:
    match fault:
        case "empty":
            return ""
        case "fenced":
            return f"```json\n{text}\n```"
        case "prose":
            return f"Let me think about this carefully.\n\n{text}\n\nI hope this helps!"
    return text


def _wanted(body: dict[str, Any], texts: list[str]) -> tuple[dict[str, Any] | None, str | None]:
    """The schema the answer must fit, None for plain text, and the tool that must be called."""
    response_format = body.get("response_format") or {}
    if response_format.get("type") == "json_schema":
        return response_format["json_schema"].get("schema", {}), None
    if response_format.get("type") == "json_object":
        return _ANY_JSON, None
    if body.get("tools") and body.get("tool_choice") not in (None, "auto", "none"):
        function = body["tools"][0]["function"]
        return function.get("parameters", {}), function["name"]
    if texts and (told := _SCHEMA_IN_WORDS.search(texts[-1])):
        return _parsed(told[1]), None
    return None, None


def _parsed(schema: str) -> dict[str, Any]:
    try:
        parsed = orjson.loads(schema)
    except orjson.JSONDecodeError:
        return _ANY_JSON
    return parsed if isinstance(parsed, dict) else _ANY_JSON


def _plain(texts: list[str], seed: int) -> str:
    asked = texts[-1] if texts else ""
    number = crc32(f"{seed}\0{asked}".encode())
    first_words = " ".join(asked.split()[:12])
    return f"{_OPENINGS[number % len(_OPENINGS)]} (number {number % 1000}) to: {first_words}"


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(str(part.get("text", "")) for part in content) if isinstance(content, list) else ""

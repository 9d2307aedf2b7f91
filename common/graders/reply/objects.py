"""JSON objects in a reply: the whole of it, in a code block, or in prose."""

from __future__ import annotations

import json
import re
from functools import partial
from typing import TYPE_CHECKING, Any

from common.graders.reply.errors import ReplyError
from common.graders.reply.lenient import Found, read_at, unique
from common.graders.reply.mentions import is_mentioned

if TYPE_CHECKING:
    from collections.abc import Sequence

_BLOT = "\ufffc"
_MOST = 50
_BRACE = re.compile(r"[{}]")
_BRACKETED = re.compile(r"\[\[[^\[\]{}]*\]\]")  # "[[4]]" is JSON, too, but means a verdict


def objects_with(text: str, required: Sequence[str]) -> tuple[list[Found], str]:
    """The objects that have a key of `required` and are not merely mentioned, and `text` with every object blotted out.

    One within other braces is part of something else. Of a text that is one object nothing is left.

    Raises:
        ReplyError: something begins like an object and is none, and one of our keys stands in it or after it: that may be a
            piece of it. Or an object that counts lacks a key of `required`, or is cut off where more could have changed it.
    """
    everything = _objects(text, required)
    prose = _blotted(text, everything)
    named = [one for one in map(partial(_spelt, required=required), everything) if any(key in one.content for key in required)]
    found = [one for one in named if one.end - one.start == len(text) or not is_mentioned(prose, one.start, one.end)]
    for one in found:
        if missing := [key for key in required if key not in one.content]:
            raise ReplyError("no_verdict", f"the JSON object lacks {', '.join(map(repr, missing))}")
        if one.cut is not None and not _settled(one, required):
            raise ReplyError("no_verdict", "the JSON object is cut off")
    return found, prose


def _blotted(text: str, objects: Sequence[Found]) -> str:
    if any(one.end - one.start == len(text) for one in objects):
        return ""
    for one in objects:
        text = text[: one.start] + _BLOT * (one.end - one.start) + text[one.end :]
    return text


def _spelt(found: Found, required: Sequence[str]) -> Found:
    """`found` with our keys as we spell them: a judge may write "Score". Raises `ReplyError` where two would be the same."""
    ours = {key.casefold(): key for key in ("reason", *required)}
    pairs = [(ours.get(key.strip().casefold(), key), value) for key, value in found.content.items()]
    try:
        return Found(unique(pairs), found.start, found.end, found.cut)
    except ValueError as error:
        raise ReplyError("no_verdict", "a key stands twice in its JSON object") from error


def _objects(text: str, required: Sequence[str]) -> list[Found]:
    whole = None if _BRACKETED.fullmatch(text) else _strict(text)
    if whole is not None:
        if isinstance(whole, list) and len(whole) == 1 and isinstance(whole[0], dict):
            whole = whole[0]
        return [Found(whole if isinstance(whole, dict) else {}, 0, len(text))]
    keys = "|".join(map(re.escape, ("reason", *required)))
    like = re.compile(rf"{{\s*(?:[\"'\u201c\u2018}}]|//|/\*|(?:{keys})\s*:)")
    ours = re.compile(rf"\b(?:{keys})[\"'\u201d\u2019]?\s*:")
    found: list[Found] = []
    at = depth = 0
    while brace := _BRACE.search(text, at):
        start, at = brace.start(), brace.end()
        if brace[0] == "}":
            depth = max(0, depth - 1)
        elif not depth and like.match(text, start) and (one := _one(text, start)):
            found.append(one)
            at = one.end
        elif not depth and like.match(text, start) and ours.search(text, start):
            raise ReplyError("no_verdict", "it holds a JSON object that is not valid")
        else:
            depth += 1
        if len(found) > _MOST:
            raise ReplyError("no_verdict", f"it holds more than {_MOST} JSON objects")
    return found


def _strict(text: str) -> dict[str, Any] | list[Any] | None:
    try:
        whole = _DECODER.decode(text)
    except (ValueError, RecursionError):
        return None
    return whole if isinstance(whole, dict | list) else None


def _one(text: str, start: int) -> Found | None:
    try:
        content, end = _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        try:
            return read_at(text, start)
        except (ValueError, RecursionError):
            return None
    return Found(content, start, end)


def _settled(found: Found, required: Sequence[str]) -> bool:
    """Whether nothing that was cut off could change the verdict: it came first, or last and is complete."""
    keys = list(found.content)
    return set(keys[: len(required)]) == set(required) or (not found.cut and keys[-1] in required)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=unique, parse_constant=_no_constant)

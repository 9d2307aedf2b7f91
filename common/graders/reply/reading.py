"""Reading a judge's reply. What is not clearly a verdict is none: there is no guessing and no clamping.

The steps: the whole reply is one JSON object; else the JSON objects that stand in it, fenced or within prose, of which
those with a verdict must agree.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any

from common.graders.outcome import REASON_LIMIT, bounded
from common.graders.reply.errors import ReplyError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_BRACE = re.compile(r"[{}]")
_OBJECT_START = re.compile(r'\{\s*["}]')
_PAIR = re.compile(r"([0-9]+(?:\.[0-9]+)?)[ \t]*[ \t,;][ \t]*([0-9]+(?:\.[0-9]+)?)[ \t]*(?:\n(.*))?\Z", re.DOTALL)
_QUOTES = tuple("\"'\u201c\u201d\u2018\u2019\u201e\u00ab\u00bb")


def read_score(text: str, *, low: float, high: float) -> tuple[float, str | None]:
    """Score and reason of a reply.

    Raises:
        ReplyError: ``no_verdict``, or ``score_out_of_range`` for a number outside [low, high].
    """
    verdict = _read(text, "score")
    score = verdict["score"]
    if isinstance(score, bool) or not isinstance(score, int | float) or not _finite(score):
        raise ReplyError("no_verdict", "the score is not a number")
    if not low <= score <= high:
        raise ReplyError("score_out_of_range", f"the score is outside the range from {low:.15g} to {high:.15g}")
    return float(score), _reason(verdict)


def read_label(text: str, labels: Sequence[str]) -> tuple[str, str | None]:
    """Label and reason of a reply.

    Raises:
        ReplyError: ``no_verdict``, or ``unknown_label`` for a text that is none of `labels`.
    """
    verdict = _read(text, "label")
    label = verdict["label"]
    if not isinstance(label, str):
        raise ReplyError("no_verdict", "the label is not a string")
    if label not in labels:
        label = label.strip()
    if label not in labels:
        raise ReplyError("unknown_label", "the label is none of those allowed")
    return label, _reason(verdict)


def read_scores(text: str, *, low: float, high: float) -> tuple[tuple[float, float], str | None]:
    """The two scores of a pair in the order shown, and the reason.

    An object with ``score_a`` and ``score_b``, or the two numbers alone on the first line.

    Raises:
        ReplyError: ``no_verdict``, or ``score_out_of_range`` for a number outside [low, high].
    """
    if first := _PAIR.match(text.strip()):
        pair = float(first[1]), float(first[2])
        reason: str | None = bounded((first[3] or "").strip(), REASON_LIMIT) or None
    else:
        verdict = read_object(text, ("score_a", "score_b"))
        if not all(isinstance(verdict[key], int | float) and _finite(verdict[key]) for key in ("score_a", "score_b")):
            raise ReplyError("no_verdict", "the scores are not two numbers")
        pair, reason = (float(verdict["score_a"]), float(verdict["score_b"])), _reason(verdict)
    if not all(low <= score <= high for score in pair):
        raise ReplyError("score_out_of_range", f"a score is outside the range from {low:.15g} to {high:.15g}")
    return pair, reason


def read_choice(text: str, choices: Mapping[str, Sequence[str]]) -> tuple[str, str | None]:
    """One of `choices` (canonical name to accepted spellings), and the reason: ``{"verdict": spelling}``.

    Raises:
        ReplyError: ``no_verdict``, or ``unknown_label`` for a text that is no spelling of a choice.
    """
    verdict = _read(text, "verdict")
    for name, spellings in choices.items():
        if verdict["verdict"] in spellings:
            return name, _reason(verdict)
    raise ReplyError("unknown_label", "the verdict is none of those allowed")


def read_object(text: str, required: Sequence[str]) -> dict[str, Any]:
    """The one JSON object of a reply that has all `required` keys; their values are for the caller to check.

    Raises:
        ReplyError: ``no_verdict``.
    """
    verdict = _read(text, required[0])
    if any(key not in verdict for key in required):
        raise ReplyError("no_verdict", f"the JSON object must have the keys {', '.join(map(repr, required))}")
    return verdict


def _read(text: str, key: str) -> dict[str, Any]:
    """The one object of a reply that has `key`. Raises `ReplyError`."""
    body = text.strip("\ufeff \t\r\n")
    try:
        whole = _DECODER.decode(body)
    except (ValueError, RecursionError):
        candidates = [found for found in _objects(body) if key in found]
    else:
        candidates = [whole] if isinstance(whole, dict) and key in whole else []
    if not candidates:
        raise ReplyError("no_verdict", f"there is no JSON object with {key!r} in it")
    if len({json.dumps(found[key], sort_keys=True) for found in candidates}) > 1:
        raise ReplyError("no_verdict", "it holds several JSON objects that contradict each other")
    return candidates[-1]


def _objects(text: str) -> list[dict[str, Any]]:
    """JSON objects in prose. One within other braces is part of something else, one right after a quote is quoted.

    Raises:
        ReplyError: something begins like an object and is none; what follows may be a piece of it.
    """
    found = []
    at = depth = 0
    while brace := _BRACE.search(text, at):
        start, at = brace.start(), brace.end()
        if brace[0] == "}":
            depth = max(0, depth - 1)
        elif depth or not _OBJECT_START.match(text, start):
            depth += 1
        else:
            try:
                decoded, at = _DECODER.raw_decode(text, start)
            except (ValueError, RecursionError) as error:
                raise ReplyError("no_verdict", "it holds a JSON object that is not valid") from error
            if not text[:start].endswith(_QUOTES):
                found.append(decoded)
    return found


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object's content. A key that stands twice makes it worthless: nobody can say which one is meant."""
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("a key stands twice")
    return content


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=_no_constant)


def _finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # an integer beyond every float is still a number, only out of any range
        return True


def _reason(verdict: dict[str, Any]) -> str | None:
    reason = verdict.get("reason")
    return bounded(reason, REASON_LIMIT) if isinstance(reason, str) and reason.strip() else None

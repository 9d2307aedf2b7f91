"""Reading a verdict out of a whole reply: its JSON objects and what it states in text must agree."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any, TypeVar

from common.graders.outcome import REASON_LIMIT, bounded
from common.graders.reply.errors import ReplyError
from common.graders.reply.objects import objects_with
from common.graders.reply.statements import stated, taken_back
from common.graders.reply.values import names, number_of, scores

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from common.graders.reply.values import Kind

T = TypeVar("T")
_MAX_CHARACTERS = 50_000
_WORDS_OF_A_VERDICT = 4
_BLANKS = "\ufeff \t\r\n"
_THOUGHTS = re.compile(
    r"\A<(think|thinking|thought|reasoning)>.*?(?:</\1>|\Z)", re.DOTALL | re.IGNORECASE
)  # drafts are no verdicts
_PAIR = re.compile(r"([0-9]+(?:\.[0-9]+)?)[ \t]*[ \t,;|][ \t]*([0-9]+(?:\.[0-9]+)?)")
_WIDE = {code: chr(code - 0xFEE0) for code in (*range(0xFF10, 0xFF1A), 0xFF0E, 0xFF0F, 0xFF05)}


def read_score(text: str, *, low: float, high: float) -> tuple[float, str | None]:
    """Score and reason of a reply.

    Raises:
        ReplyError: ``no_verdict``, or ``score_out_of_range`` for a number outside [low, high].
    """
    score, reason = _read(text, "score", scores(low, high), lambda value: _number(value, low, high))
    return _in_range(score, low, high), reason


def read_label(text: str, labels: Sequence[str]) -> tuple[str, str | None]:
    """Label and reason of a reply.

    Raises:
        ReplyError: ``no_verdict``, or ``unknown_label`` for a text that is none of `labels`.
    """
    return read_choice(text, {label: (label,) for label in labels}, key="label")


def read_choice(text: str, choices: Mapping[str, Sequence[str]], *, key: str = "verdict") -> tuple[str, str | None]:
    """One of `choices` (canonical name to accepted spellings), under `key` or stated in text; and the reason.

    Raises:
        ReplyError: ``no_verdict``, or ``unknown_label`` for a text that is no spelling of a choice.
    """
    kind = names(choices)

    def name(value: object) -> str:
        if not isinstance(value, str):
            raise ReplyError("no_verdict", f"the {key} is not a string")
        return kind.parse(value)

    return _read(text, key, kind, name)


def read_scores(text: str, *, low: float, high: float) -> tuple[tuple[float, float], str | None]:
    """The two scores of a pair in the order shown, and the reason.

    An object with ``score_a`` and ``score_b``, or the two numbers alone on the first line, as in
    https://github.com/lm-sys/FastChat (the first Vicuna reviews). No other line may hold another pair.

    Raises:
        ReplyError: ``no_verdict``, or ``score_out_of_range`` for a number outside [low, high].
    """
    lines = [line.replace("*", "").strip() for line in _body(text).split("\n")]
    pair = _pair(lines[0])
    if pair is None:
        content = read_object(text, ("score_a", "score_b"))
        pair, reason = (_number(content["score_a"], low, high), _number(content["score_b"], low, high)), _reason(content)
    else:
        rest = "\n".join(lines[1:])
        if any(_pair(line) not in (None, pair) for line in lines[1:]) or taken_back(rest):
            raise _contradictory()
        reason = bounded(rest.strip(), REASON_LIMIT) or None
    return (_in_range(pair[0], low, high), _in_range(pair[1], low, high)), reason


def read_object(text: str, required: Sequence[str]) -> dict[str, Any]:
    """The one JSON object of a reply that has all `required` keys; their values are for the caller to check.

    Raises:
        ReplyError: ``no_verdict``.
    """
    body = _body(text)
    found, prose = objects_with(body, required)
    if not found:
        raise ReplyError("no_verdict", f"there is no JSON object with {', '.join(map(repr, required))} in it")
    if len({json.dumps([one.content[key] for key in required], sort_keys=True) for one in found}) > 1:
        raise _contradictory()
    if taken_back(prose[found[-1].end :]):
        raise _taken_back()
    return found[-1].content


def _pair(line: str) -> tuple[float, float] | None:
    match = _PAIR.fullmatch(line)
    return (float(match[1]), float(match[2])) if match else None


def finished(text: str) -> str:
    """The part of a reply that was cut off at its token limit whose meaning more tokens could not have changed.

    "Score: 1" may have been on its way to 10, so an unfinished line goes. An object that is still open stays: how much of it
    is complete is for the reader of objects to say.
    """
    if text.rfind("{") > text.rfind("}"):
        return text
    return text[: max(text.rfind(end) + len(end) if end in text else 0 for end in ("\n", "}", "]]"))]


def _read(text: str, key: str, kind: Kind[T], value_of: Callable[[Any], T]) -> tuple[T, str | None]:
    """The one verdict of a reply, in an object under `key` or stated in the text around objects. Raises `ReplyError`."""
    body = _body(text)
    found, prose = objects_with(body, (key,))
    verdicts = [(value_of(one.content[key]), prose[one.end :]) for one in found]
    if prose:
        verdicts += stated(prose, kind)
    if not verdicts:
        raise ReplyError("no_verdict", f"there is no JSON object with {key!r} in it")
    if len({value for value, _ in verdicts}) > 1:
        raise _contradictory()
    if taken_back(min((rest for _, rest in verdicts), key=len)):
        raise _taken_back()
    return verdicts[0][0], _reason(found[-1].content) if found else _explained(body)


def _body(text: str) -> str:
    body = _THOUGHTS.sub("", text.strip(_BLANKS)).strip(_BLANKS)
    if len(body) > _MAX_CHARACTERS:
        raise ReplyError("no_verdict", f"it is longer than {_MAX_CHARACTERS} characters")
    return body if body.isascii() else body.translate(_WIDE)


def _contradictory() -> ReplyError:
    return ReplyError("no_verdict", "it holds several verdicts that contradict each other")


def _taken_back() -> ReplyError:
    return ReplyError("no_verdict", "it takes its verdict back")


def _number(value: object, low: float, high: float) -> float:
    if isinstance(value, str):
        return number_of(value, low=low, high=high)
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:  # noqa: PLR0124 -- NaN
        raise ReplyError("no_verdict", "the score is not a number")
    try:
        return float(value)
    except OverflowError:  # an integer beyond every float is still a number, only out of any range
        return math.inf


def _in_range(score: float, low: float, high: float) -> float:
    if not low <= score <= high:
        raise ReplyError("score_out_of_range", f"the score is outside the range from {low:.15g} to {high:.15g}")
    return score


def _reason(content: dict[str, Any]) -> str | None:
    reason = content.get("reason")
    return bounded(reason, REASON_LIMIT) if isinstance(reason, str) and reason.strip() else None


def _explained(body: str) -> str | None:
    """The whole text, where it says more than a verdict."""
    return bounded(body, REASON_LIMIT) if len(body.split()) > _WORDS_OF_A_VERDICT else None

"""Verdicts stated in plain text. A number or label within a sentence is none; it must be stated as the verdict.

The forms: ``[[8]]``, ``[RESULT] 8``, ``<score>8</score>``, ``Score: 8`` at the start of a line or sentence, "I would rate
it 8", and the value alone: as the whole reply, as its first line, or after a blank line as its last.
"""

from __future__ import annotations

import re
from itertools import chain, islice
from typing import TYPE_CHECKING, TypeVar

from common.graders.reply.errors import ReplyError
from common.graders.reply.mentions import is_mentioned

if TYPE_CHECKING:
    from collections.abc import Iterator

    from common.graders.reply.values import Kind

T = TypeVar("T")
_BRACKETS = re.compile(r"\[\[([^\[\]\n]{1,200})\]\]")
_TAGGED = re.compile(r"<(\w{1,20})>([^<>]{1,200})</\1>")
_RESULT = re.compile(r"\[RESULT\][ \t]*:?[ \t]*", re.IGNORECASE)
_BOUNDARY = r"(?:(?:\A|\n)[ \t]*(?:[-\u2022#]+[ \t]+)?|[.!?][\"')]?\s+|\bas follows:\s*[\"\u201c]?|\bfeedback:\s*)"
_GRADED = (
    r"(?:(?:therefore|thus|hence|so|overall|finally)\W+)?I(?:\s+would|\s+will|['\u2019]d|['\u2019]ll)?(?:\s+\w+ly)?\s+"
    r"(?:rate|give|score|grade|assign|award)(?:\s+(?:it|this|that|(?:the|this)\s+(?:[\w'\u2019]+\s+)?(?:response|answer|output|sample)))?"
    r"(?:\s+(?:an?|as|at))*(?:\s+(?:score|rating|grade)\s+of)?:?\s+"
)
_ADJECTIVES = "(?:my|the|our|final|overall|total|numerical|first|initial|new|revised|updated|corrected|adjusted|preliminary)"
_HEDGE = re.compile(
    r"\b(?:or|to|and|if|unless|but|maybe|perhaps|not|no|actually|wait|rather|should|would|could|might|almost)\b|[0-9]",
    re.IGNORECASE,
)
_TAKEN_BACK = re.compile(
    r"(?:(?:\A|[.!?\n,;\u2013\u2014-])[\s\"'\u201d)}\]`]*(?:(?:oh|no|but|hmm|sorry)\b\W*)*(?:wait|actually|correction|sorry)\b)"
    r"|\b(?:scratch that|on second thoughts?|(?:take|took) (?:that|it) back|chang(?:e|ed) my mind"
    r"|let me (?:reconsider|revise|correct|rethink)|I (?:was wrong|made an? (?:mistake|error)|misjudged|misread)"
    r"|(?:disregard|ignore) (?:that|the above|this) (?:score|rating|verdict|grade))\b",
    re.IGNORECASE,
)
_MOST = 50
_LISTED = re.compile(r"^\s*[0-9]+[.)]\s", re.MULTILINE)
_LINES_AFTER_DOT = (".", "!", "?", ")", '"')


def stated(text: str, kind: Kind[T]) -> list[tuple[T, str]]:
    """Every verdict that `text` states, and what stands after it.

    Raises:
        ReplyError: something is stated that cannot be read.
    """
    plain = re.sub(r"\*+|__+", "", text)
    if sum(len(form.findall(plain)) for form in (_BRACKETS, _RESULT, _TAGGED)) > _MOST:
        raise ReplyError("no_verdict", f"it names more than {_MOST} verdicts")
    found = list(islice(chain(_marked(plain, kind), _announced(plain, kind), _alone(plain, kind)), _MOST + 1))
    if len(found) > _MOST:
        raise ReplyError("no_verdict", f"it states more than {_MOST} verdicts")
    return found


def taken_back(text: str) -> bool:
    """Whether what follows a verdict withdraws it."""
    return bool(_TAKEN_BACK.search(text))


def _marked(text: str, kind: Kind[T]) -> Iterator[tuple[T, str]]:
    for match in _BRACKETS.finditer(text):
        if not is_mentioned(text, match.start(), match.end()):
            yield kind.parse(match[1]), text[match.end() :]
    for match in _TAGGED.finditer(text):
        if re.fullmatch(kind.names, match[1], re.IGNORECASE) and not is_mentioned(text, match.start(), match.end()):
            yield kind.parse(match[2]), text[match.end() :]
    for match in _RESULT.finditer(text):
        line = text[match.end() :].split("\n", 1)[0]
        if not is_mentioned(text, match.start(), match.end()) and not _BRACKETS.match(line):
            yield kind.parse(line.strip(" \t.()")), text[match.end() + len(line) :]


def _announced(text: str, kind: Kind[T]) -> Iterator[tuple[T, str]]:
    words = rf"(?:{_ADJECTIVES}\s+){{0,3}}(?:{kind.names})(?:\s+(?:score|rating|verdict))?"
    label = rf"{words}[ \t]*(?:\([^()\n]{{1,40}}\)[ \t]*)?(?:[:=\uff1a]|\bis\b:?|[\u2013\u2014-])\s*|(?<=\# ){words}[ \t]*\n\s*"
    form = re.compile(
        rf"(?P<before>{_BOUNDARY})(?:{label}|{_GRADED})[\"'`(]?(?P<value>{kind.pattern})(?![\w/])(?P<tail>[^\n]*)",
        re.IGNORECASE,
    )
    at = 0
    while match := form.search(text, at):
        at = match.end("value")
        start = match.end("before")
        if is_mentioned(text, start, match.end("value")):
            continue
        if not _ends_well(match["tail"]):
            raise ReplyError("no_verdict", "it is not clear which verdict is meant")
        yield kind.parse(match["value"]), text[at:]


def _ends_well(tail: str) -> bool:
    rest = tail.lstrip("\"'`\u201d)] \t")
    return not rest or (rest[0] in ".!;,(\u2013\u2014-" and not _HEDGE.search(rest))


def _alone(text: str, kind: Kind[T]) -> Iterator[tuple[T, str]]:
    lines = text.strip().split("\n")
    whole = re.compile(rf"[\"'`(\[_]{{0,2}}(?P<value>{kind.pattern})(?P<marks>[.!\"'`)\]_]*)\s*", re.IGNORECASE)
    first = whole.fullmatch(lines[0].strip())
    if first and (len(lines) == 1 or "." not in first["marks"] or kind.spellings) and not lines[0].lstrip().startswith(">"):
        _nothing_else(lines[1:], first["value"], kind)
        yield kind.parse(first["value"]), "\n".join(lines[1:])
    opening = re.match(rf"(?P<value>{kind.pattern})[.!]\s", lines[0], re.IGNORECASE) if kind.spellings and not first else None
    if opening and len(opening["value"]) > 1:
        _nothing_else([text[opening.end() :]], opening["value"], kind)
        yield kind.parse(opening["value"]), text[opening.end() :]
    last = whole.fullmatch(lines[-1].strip()) if len(lines) > 1 else None
    if last and _set_apart(lines) and not _LISTED.search(text):
        _nothing_else(lines[:-1], last["value"], kind)
        yield kind.parse(last["value"]), ""
    if first:  # a second value alone on its line is another verdict
        yield from ((kind.parse(other["value"]), "") for line in lines[1:] if (other := whole.fullmatch(line.strip())))


def _set_apart(lines: list[str]) -> bool:
    """Whether the last line stands alone after a finished sentence and a blank line: no result of a sum, no piece of a list."""
    return len(lines) > 2 and not lines[-2].strip() and lines[-3].rstrip().endswith(_LINES_AFTER_DOT)  # noqa: PLR2004


def _nothing_else(others: list[str], value: str, kind: Kind[T]) -> None:
    """Raises `ReplyError` when another of the spellings stands in the rest of the reply."""
    mine = kind.parse(value)
    rest = "\n".join(others)
    for spelling in kind.spellings:
        if kind.parse(spelling) != mine and re.search(rf"(?<!\w){re.escape(spelling)}(?!\w)", rest, re.IGNORECASE):
            raise ReplyError("no_verdict", "it is not clear which verdict is meant")

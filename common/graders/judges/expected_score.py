"""The expected score: what the judge would have said on average, by the probabilities of the score's token.

Source: Liu et al. 2023, "G-Eval", arXiv:2303.16634, section 2 ("Scoring Function"): score = sum over s_i of p(s_i) * s_i.
They estimate GPT-4's p from 20 samples; here p is what the provider says of the one token that holds the score, renormalised
over the scores that the grader allows.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from common.schemas.completion import TokenLogprob

_DECODER = json.JSONDecoder()
_BETWEEN = re.compile(r"[\s,:]*")
_DIGIT = re.compile(r'[\s":]*([0-9])[\s,}"]*')
_BYTES = re.compile(r"(?:bytes:)?(?:\\x[0-9a-f]{2})+")  # how a token is told that ends within a character
_ROUNDING = 1e-3


@dataclass(frozen=True, slots=True)
class Expectation:
    """``value`` within the range; ``mass`` in (0, 1] is the probability of all the scores allowed, before renormalising."""

    value: float
    mass: float


def expected_scores(
    tokens: Sequence[TokenLogprob] | None, said: Mapping[str, int], *, low: int, high: int
) -> dict[str, Expectation] | None:
    """The expectation for every criterion of a reply ``{"criteria": {name: {"score": digit}}}``, or None: all or nothing.

    None where there are no logprobs, or they are not those of strict JSON that says the same as `said`, or a score is not one
    digit in one token.

    Args:
        tokens: The whole reply, with the likeliest alternatives of every token; None where the provider gave none.
        said: The score that was read, by criterion.
        low: The lowest score, at least 0.
        high: The highest score, at most 9.
    """
    if not tokens:
        return None
    pieces = [_BYTES.sub("?", token.token) for token in tokens]
    found = {}
    for name, (start, digit) in _digits("".join(pieces)).items():
        expectation = _expectation(_token_at(tokens, pieces, start), digit, low=low, high=high)
        if said.get(name) == int(digit) and expectation is not None:
            found[name] = expectation
    return found if found.keys() == said.keys() else None


def _digits(text: str) -> dict[str, tuple[int, str]]:
    """Where the one-digit scores of a reply stand, by criterion; empty for anything that is no such reply."""
    places = {}
    try:
        (criteria,) = [at for key, at, _ in _members(text, text.index("{")) if key == "criteria"]
        for name, entry, _ in _members(text, criteria):
            (place,) = [(start, text[start:end]) for key, start, end in _members(text, entry) if key == "score"]
            places[name] = place
    except (ValueError, RecursionError):
        return {}
    return {name: place for name, place in places.items() if len(place[1]) == 1 and place[1].isdecimal()}


def _members(text: str, at: int) -> Iterator[tuple[str, int, int]]:
    """(key, start of the value, its end) for the object that begins at `at`. Raises `ValueError` if there is none."""
    content, end = _DECODER.raw_decode(text, at)
    if not isinstance(content, dict):
        raise ValueError("no object")  # noqa: TRY004  # like every other text that is none
    at = _after(text, at + 1)
    while at < end - 1:
        key, at = _DECODER.raw_decode(text, at)
        start = _after(text, at)
        _, stop = _DECODER.raw_decode(text, start)
        yield key, start, stop
        at = _after(text, stop)


def _after(text: str, at: int) -> int:
    """The next character that is more than white space and punctuation between members."""
    return at + len(match[0]) if (match := _BETWEEN.match(text, at)) else at


def _token_at(tokens: Sequence[TokenLogprob], pieces: Sequence[str], place: int) -> TokenLogprob:
    end = 0
    for token, piece in zip(tokens, pieces, strict=True):
        end += len(piece)
        if place < end:
            return token
    raise IndexError(place)


def _expectation(token: TokenLogprob, digit: str, *, low: int, high: int) -> Expectation | None:
    chances: dict[int, float] = {}
    for text, logprob in {**dict(token.top), token.token: token.logprob}.items():
        alternative = _DIGIT.fullmatch(text)
        if alternative and low <= int(alternative[1]) <= high:
            score = int(alternative[1])
            chances[score] = chances.get(score, 0.0) + math.exp(min(logprob, 0.0))
    mass = math.fsum(chances.values())
    # More than 1 is no probability; without the digit itself the token holds more than the score.
    if int(digit) not in chances or not 0 < mass <= 1 + _ROUNDING:
        return None
    value = math.fsum(score * chance for score, chance in chances.items()) / mass
    return Expectation(min(float(high), max(float(low), value)), min(1.0, mass))

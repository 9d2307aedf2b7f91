"""What a verdict may look like, and which value it is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Generic, TypeVar

from common.graders.reply.errors import ReplyError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

T = TypeVar("T")
_NUMBER = r"[-+]?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)"
_SCORE = rf"{_NUMBER}(?:\s*(?:/|out\s+of)\s*{_NUMBER})?(?:\s*(?:%|percent\b|points?\b|stars?\b))?"
_PARTS = re.compile(rf"({_NUMBER})(?:\s*(?:/|out\s+of)\s*({_NUMBER}))?\s*(%|percent|points?|stars?)?", re.IGNORECASE)
_AROUND = " \t\r\n*_\"'`\u201c\u201d\u2018\u2019.!()[]"
_PERCENT = ("%", "percent")
_HUNDRED = 100


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """One kind of verdict.

    ``pattern`` finds candidates in text, ``names`` the words that announce one. ``parse`` makes a text a value and raises
    `ReplyError`; ``distinct`` are the spellings that contradict each other when they stand in one reply, if any.
    """

    pattern: str
    names: str
    parse: Callable[[str], T]
    spellings: tuple[str, ...] = ()


def scores(low: float, high: float) -> Kind[float]:
    """Numbers from `low` to `high`, also as ``4/5``, ``4 out of 5`` and ``80%``. See `number_of`."""
    names = r"score|rating|grade|rate|verdict|evaluation|assessment|overall"
    return Kind(_SCORE, names, lambda text: number_of(text, low=low, high=high))


def number_of(text: str, *, low: float, high: float) -> float:
    """The number that `text` is, not checked against the range.

    ``4/5`` counts where 5 is the top of the range and its low end 0 or 1, a percentage where the range is 0 to 100 or 0 to 1:
    nothing else is rescaled.

    Raises:
        ReplyError: ``no_verdict``.
    """
    match = _PARTS.fullmatch(text.strip())
    if match is None:
        raise ReplyError("no_verdict", "the score is not a number")
    value, whole, unit = float(match[1]), match[2], (match[3] or "").lower()
    if whole is not None and (float(whole) != high or low not in (0, 1)):
        raise ReplyError("no_verdict", f"the score is not given on the range from {low:.15g} to {high:.15g}")
    if unit not in _PERCENT or (low == 0 and high == _HUNDRED):
        return value
    if (low, high) == (0, 1) and whole is None:
        return value / _HUNDRED
    raise ReplyError("no_verdict", f"the score is not given on the range from {low:.15g} to {high:.15g}")


def names(choices: Mapping[str, Sequence[str]]) -> Kind[str]:
    """One of `choices`, by any of its spellings; case and marks around it do not matter where only one choice fits."""
    spellings = tuple(dict.fromkeys(spelling for all_of_one in choices.values() for spelling in all_of_one))
    words = r"label|verdict|classification|category|choice|decision|winner|judge?ment|rating|grade|score|assessment|evaluation"
    return Kind(_any_of(spellings), words, lambda text: name_of(text, choices), spellings)


@lru_cache(maxsize=256)
def _any_of(spellings: tuple[str, ...]) -> str:
    """A pattern for any of `spellings`, the longest that fits."""
    return f"(?:{'|'.join(re.escape(spelling) for spelling in sorted(spellings, key=len, reverse=True))})"


def name_of(text: str, choices: Mapping[str, Sequence[str]]) -> str:
    """The choice that `text` is. Raises `ReplyError`: ``unknown_label``."""
    for spell in (str, str.strip, _bare):
        fitting = [name for name, spellings in choices.items() if spell(text) in map(spell, spellings)]
        if len(fitting) == 1:
            return fitting[0]
    raise ReplyError("unknown_label", "the label is none of those allowed")


def _bare(text: str) -> str:
    return text.strip(_AROUND).casefold()

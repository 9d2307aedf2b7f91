"""Marking foreign text in a judge's prompt as material, so that what it says is not taken for instructions."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from common.graders.outcome import well_formed

if TYPE_CHECKING:
    from collections.abc import Callable

_WIDE = 0xFEE0  # from ASCII to its full-width form
_UNSAFE_NAME = re.compile(r'["<>\s]')
# What no reader sees between two characters: soft hyphen, joiners, direction marks, variation selectors, and the like.
_UNSEEN = "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]*"
_TWINS = {
    "a": "\u0430\u0410\u0391\u03b1",
    "b": "\u0412\u0392",
    "c": "\u0441\u0421\u03f2",
    "e": "\u0435\u0415\u0395",
    "0": "oO\u043e\u041e\u039f",
    "1": "lI\u0406",
}
# Tokens by which open models' chat templates begin and end turns; some servers read them in a message's text as well.
_TURNS = re.compile(
    r"(?<=<)(?=[|\uff5c][^<>|\uff5c\n]{1,60}[|\uff5c]>|(?:start|end)_of_turn>|</?SYS>>)|(?<=\[)(?=/?INST\])", re.IGNORECASE
)


def fence(name: str, text: str, *, marker: str) -> str:
    """`text` between ``<data-MARKER name="NAME">`` and ``</data-MARKER>``, each on a line of its own.

    The marker is random, so the text cannot know it. If it is in there all the same, whoever wrote the text has seen it: it is
    taken out, whatever its case, in wide letters, in letters that look alike or with invisible ones between, so that the text
    can neither close its fence nor open another. A chat template's own tokens (``<|im_start|>``, ``[INST]``) get a blank behind
    their first character, so that they cannot end the turn.
    """
    inside = _TURNS.sub(" ", _alike(marker).sub("[removed]", well_formed(text)))
    return f'<data-{marker} name="{_UNSAFE_NAME.sub("_", name)}">\n{inside}\n</data-{marker}>'


@lru_cache(maxsize=64)
def _alike(marker: str) -> re.Pattern[str]:
    return re.compile(_UNSEEN.join(f"[{re.escape(_forms(char))}]" for char in marker), re.IGNORECASE)


def _forms(char: str) -> str:
    """`char` as it is, wide, and as letters of other alphabets that look like it."""
    return char + chr(ord(char) + _WIDE) + chr(ord(char.upper()) + _WIDE) + _TWINS.get(char, "")


def fencer(marker: str) -> Callable[[str, str], str]:
    """`fence` for one prompt, in the form `common.graders.template.render` wants."""
    return lambda name, text: fence(name, text, marker=marker)

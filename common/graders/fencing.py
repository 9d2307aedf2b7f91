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
    "b": "\u0412\u0432\u1c80\u0392\u03b2\u03d0",
    "c": "\u0421\u0441\u1c83\u03f2\u03f9",
    "e": "\u0435\u0415\u0395\u03b5\u03f5",
    "0": "oO\u043e\u041e\u1c82\u039f\u03bf",
    "1": "lLiI\u0406\u0456\u0130\u0131",
}
# Tokens by which open models' chat templates begin and end turns; some servers read them in a message's text as well.
_ANGLED = re.compile(r"<(?=[|\uff5c][^<>|\uff5c\n]{1,60}[|\uff5c]>|(?:start|end)_of_turn>|</?SYS>>)", re.IGNORECASE)
_SQUARE = re.compile(r"\[(?=/?INST\])", re.IGNORECASE)


def _forms(char: str) -> str:
    """`char` as it is, capital, wide, and as letters of other alphabets that look like it."""
    return "".join((char, char.upper(), chr(ord(char) + _WIDE), chr(ord(char.upper()) + _WIDE), _TWINS.get(char, "")))


class _Look:
    """Some of a marker's digits, and how what is or looks like one of them is read as that digit, and nothing else is read."""

    def __init__(self, digits: str) -> None:
        forms = [(form, digit) for digit in digits for form in dict.fromkeys(_forms(digit))]
        near = {ord(form): ord(digit) for form, digit in forms if form.isascii()}
        self._far = [(form, digit) for form, digit in forms if not form.isascii()]
        self._far_begin = {form.encode()[:1] for form, _ in self._far}
        self._digits = bytes(near.get(code, code) for code in range(256))
        self._others = bytes(set(range(256)) - set(near))

    def read(self, text: str, written: bytes) -> bytes:
        """The digits in `text`, which is `written` in UTF-8."""
        if any(begin in written for begin in self._far_begin):
            for form, digit in self._far:
                text = text.replace(form, digit)
            written = text.encode()
        return written.translate(self._digits, self._others)


_HEX = "0123456789abcdef"
_LOOKS = (_Look("23456789"), _Look(_HEX))  # a quick one first: these look like no letter of any alphabet


def fence(name: str, text: str, *, marker: str) -> str:
    """`text` between ``<data-MARKER name="NAME">`` and ``</data-MARKER>``, each on a line of its own.

    The marker is random, so the text cannot know it. If it is in there all the same, whoever wrote the text has seen it: it is
    taken out, whatever its case, in wide letters, in letters that look alike or with invisible ones between, so that the text
    can neither close its fence nor open another. A chat template's own tokens (``<|im_start|>``, ``[INST]``) get a blank behind
    their first character, so that they cannot end the turn.
    """
    inside, written = _written(text)
    if _may_hold(inside, written, marker):
        inside = _alike(marker).sub("[removed]", inside)
    if "<" in inside:
        inside = _ANGLED.sub("< ", inside)
    if "[" in inside:
        inside = _SQUARE.sub("[ ", inside)
    return f'<data-{marker} name="{_UNSAFE_NAME.sub("_", name)}">\n{inside}\n</data-{marker}>'


def _written(text: str) -> tuple[str, bytes]:
    """`text`, well formed, and the same in UTF-8; encoded once, because that takes half a millisecond a megabyte."""
    try:
        return text, text.encode()
    except UnicodeEncodeError:
        return (whole := well_formed(text)), whole.encode()


def _may_hold(text: str, written: bytes, marker: str) -> bool:
    """False only where `_alike` finds nothing: its pattern takes 2 ms to compile, and hardly any text needs it."""
    if not set(marker) <= set(_HEX):
        return True
    return all(look.read(marker, marker.encode()) in look.read(text, written) for look in _LOOKS)


@lru_cache(maxsize=64)
def _alike(marker: str) -> re.Pattern[str]:
    return re.compile(_UNSEEN.join(f"[{re.escape(_forms(char))}]" for char in marker), re.IGNORECASE)


def fencer(marker: str) -> Callable[[str, str], str]:
    """`fence` for one prompt, in the form `common.graders.template.render` wants."""
    return lambda name, text: fence(name, text, marker=marker)

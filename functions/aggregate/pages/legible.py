"""Text of users and models, made fit to be read on a page: bounded, without anything invisible that changes its meaning.

Escaping for HTML is the template's work (autoescape); this is about what escaping leaves in: control characters, which a
page must not hold, and Unicode's bidirectional controls and zero-width characters, which make a text look like another
("Trojan Source", https://trojansource.codes, section 3). They are shown by their code point instead.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

ELLIPSIS = "…"

# C0 without tab and newline, C1, zero-width and invisible characters, line and paragraph separators, bidirectional controls,
# byte-order mark, interlinear annotations, lone surrogates, non-characters, and the invisible tag characters.
_INVISIBLE = re.compile(
    "[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\ufffe\uffff\ud800-\udfff\U000e0000-\U000e0fff]"
)


@dataclass(frozen=True, slots=True)
class Legible:
    """A text as shown. ``length`` is the whole text's, in characters; ``cut`` says that some of it is not shown."""

    text: str
    length: int
    cut: bool


def legible(text: str, *, limit: int) -> Legible:
    """The first `limit` characters of `text`, line ends unified, what is invisible shown as ``[U+202E]``."""
    head = text[:limit].replace("\r\n", "\n")
    return Legible(_INVISIBLE.sub(_code_point, head), len(text), len(text) > limit)


def one_line(text: str, *, limit: int) -> str:
    """`text` as a single line of at most `limit` characters of it and an ellipsis if that is not all."""
    words = " ".join(text[: 2 * limit].split())
    cut = len(words) > limit or len(text) > 2 * limit
    return legible(words, limit=limit).text.rstrip() + (ELLIPSIS if cut else "")


def _code_point(match: re.Match[str]) -> str:
    return f"[U+{ord(match.group()):04X}]"

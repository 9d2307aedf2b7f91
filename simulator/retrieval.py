"""What the simulated judge makes of claims and contexts: it counts the words they share, and understands none of them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_FENCE = re.compile(r'<data-([0-9a-f]+) name="([^"]+)">\n(.*?)\n</data-\1>', re.DOTALL)
_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_WORD = re.compile(r"[^\W_]{3,}|\d+")
_FILLERS = frozenset(
    {
        "the",
        "and",
        "are",
        "was",
        "were",
        "has",
        "had",
        "its",
        "for",
        "with",
        "that",
        "this",
        "which",
        "who",
        "what",
        "when",
        "how",
    }
)
_EVASIVE = re.compile(r"\b(?:don't know|do not know|not sure|cannot (?:say|tell|answer))\b", re.IGNORECASE)
_REPLY = "judge.reply"  # its own last one, shown for repair
_ENOUGH = 0.6


def findings(schema: Mapping[str, Any], texts: Sequence[str]) -> dict[str, Any] | None:
    """The reply to a question about claims or contexts, by the words fenced in `texts`; None for any other schema."""
    fences = [(name, content) for text in texts for _, name, content in _FENCE.findall(text) if name != _REPLY]
    properties = schema.get("properties") or {}
    if properties.keys() == {"claims"}:
        return {"claims": _sentences(fences[-1][1]) if fences else []}
    if properties.keys() == {"verdicts"}:
        return {"verdicts": _verdicts(fences, properties["verdicts"])}
    if properties.keys() == {"assessment"}:
        return {"assessment": _assessment(fences)}
    return None


def _verdicts(fences: Sequence[tuple[str, str]], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Of each claim, whether one context holds its words; without claims of each context, whether the rest holds them."""
    contexts = [content for name, content in fences if name.startswith("context.")]
    claims = [content for name, content in fences if name.startswith("claim.")]
    sources = contexts if claims else [content for name, content in fences if not name.startswith("context.")]
    shares = [_share(text, sources) for text in claims or contexts]
    verdicts = {}
    for (number, entry), share in zip(schema.get("properties", {}).items(), shares, strict=False):
        flag = next((name for name in entry.get("properties", {}) if name != "reason"), "supported")
        verdicts[number] = {"reason": f"Simulated: {share:.0%} of its words are there.", flag: share >= _ENOUGH}
    return verdicts


def _assessment(fences: Sequence[tuple[str, str]]) -> dict[str, Any]:
    asked, given = (fences[0][1], fences[-1][1]) if fences else ("", "")
    statements = [
        {
            "statement": text,
            "reason": "Simulated: words shared with the question.",
            "relevant": bool(_words(text) & _words(asked)),
        }
        for text in _sentences(given)
    ]
    commits = bool(statements) and _EVASIVE.search(given) is None
    return {"statements": statements, "reason": "Simulated: by its wording.", "commits": commits}


def _sentences(text: str) -> list[str]:
    return [sentence for sentence in _SENTENCE.split(text.strip()) if sentence]


def _share(text: str, sources: Sequence[str]) -> float:
    """The largest share of the words of `text` that one of `sources` holds."""
    words = _words(text)
    return max((len(words & _words(source)) / len(words) for source in sources), default=0.0) if words else 0.0


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.lower())) - _FILLERS

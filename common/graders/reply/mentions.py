"""Telling a verdict from words about one: quoted, denied, imagined, or given as an example."""

from __future__ import annotations

import re

_SENTENCE_END = re.compile(r"[.!?][\"'\u201d)\]]*\s+|(?<![:\s])[ \t]*\n\s*")
_CODE_FENCE = re.compile(r"```\w*\s*\Z")
_HEADED = re.compile(r"(?:score|rating|grade|verdict|result|label|choice|answer)\s*[:=]\s*\Z", re.IGNORECASE)
_QUOTE = re.compile(r"[\"'`\u201c\u201d\u2018\u2019\u201e\u00ab\u00bb]\s*\Z")
_ANNOUNCED = re.compile(r"\bas follows\s*:\s*[\"'\u201c]\s*\Z", re.IGNORECASE)
_IMAGINED = re.compile(r"\b(?:if|unless|had it|were it|would have)\b", re.IGNORECASE)
_FOREIGN = re.compile(
    r"\b(?:not|never|cannot|nor|instead of|rather than|without|no"
    r"|(?<!\bI )say|says|said|saying|claim(?:s|ed|ing)?|assert(?:s|ed|ing)?|stat(?:es|ed|ing)|writes?|wrote|reads?"
    r"|contain(?:s|ed|ing)?|includ(?:es|ed|ing)|tells?|told|telling|asks?(?! for)|asking|asked(?! for)"
    r"|instruct\w*|demand\w*|wants?|wanted|tries|tried|trying|attempt\w*|insist\w*|ignor\w+|inject\w*|forged?|fake|pretend\w*"
    r"|end(?:s|ed|ing)? (?:with|in)|append\w*|insert\w*|smuggl\w*|hidden|hides?|repeat\w*|cop(?:y|ies|ied)"
    r"|quot(?:e|es|ed|ing)|embed\w*|sample|submission|material|example|e\.g|such as|format|looks? like|schema"
    r"|between|may|might|could|perhaps|maybe|begs?|prints?|output(?:s|ting)?)\b|n['\u2019]t\b",
    re.IGNORECASE,
)
_OWN = re.compile(
    r"(?:\A|[,;.]\s*|\b(?:and|so|but|therefore|thus|hence|overall)\s+)"
    r"(?:(?:therefore|thus|hence|so|overall|finally)\W+)?"
    r"(?:I(?:\s+would|\s+will|['\u2019]d|['\u2019]ll)?(?:\s+\w+ly)?\s+(?:rate|give|score|grade|assign|award)\b"
    r"|the\s+[^,;:\"]{1,40}\s(?:is|should be)\s+rated\b)(?P<rest>[^,;\"\u201c]*[\"\u201c]?)\Z",
    re.IGNORECASE,
)
_ORDERED = re.compile(
    r"(?:\A|[.!?:\n]\s*)[\"'\u201c]?(?:please\s+)?(?:ignore|disregard|forget)\b[^.!?\n]{0,60}\b(?:instructions?|above|prompt|rules)\b[.!:]\s*\Z",
    re.IGNORECASE,
)
_DENIED_AFTER = re.compile(
    r"[\"'`\u201d\u2019)\]*]*\s*(?:,\s*)?(?:(?:would|might|could|may|if|unless)\b"
    r"|(?:is|was)(?:\s+not|n['\u2019]t|\s+(?:far\s+)?too|\s+wrong)\b)",
    re.IGNORECASE,
)


def is_mentioned(text: str, start: int, end: int) -> bool:
    """Whether what stands from `start` to `end` is only spoken of. Judged by its own sentence, up to it, and the words after.

    A line that ends in a colon belongs to what follows it. The judge's own "I would rate it" is none of it, whatever the
    clauses before it say, unless there is an "if".
    """
    line = text[text.rfind("\n", 0, start) + 1 : start]
    before = _CODE_FENCE.sub("", text[max(0, start - 2_000) : start])
    lead = before[_sentence_start(before) :].lstrip("#*_-> \t\n")
    lead = re.sub(r"[*_]", "", lead)
    if _ORDERED.search(before[: _sentence_start(before)]):
        return True
    quoted = bool(_QUOTE.search(_HEADED.sub("", lead))) and not _ANNOUNCED.search(_HEADED.sub("", lead))
    if quoted or line.lstrip().startswith(">") or _IMAGINED.search(lead) or _DENIED_AFTER.match(text, end):
        return True
    own = _OWN.search(lead)
    return bool(_FOREIGN.search(own["rest"] if own else lead))


def _sentence_start(before: str) -> int:
    ends = [match.end() for match in _SENTENCE_END.finditer(before)]
    return ends[-1] if ends else 0

"""How the simulated judge forms an opinion. It reads the reference; it knows nothing and understands nothing.

An opinion is a number in [0, 1], the same for the same texts and seed: how much of what the reference adds to the question is
in the answer, halved by a wrong number and by a negation on one side only, with a little noise. Of a pair each side gets an
opinion of its own, whatever its place, so that swapping the sides swaps the opinion.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Sequence

_FENCE = re.compile(r'<data-([0-9a-f]+) name="([^"]+)">\n(.*?)\n</data-\1>', re.DOTALL)
_WORD = re.compile(r"[^\W_]+")
_RANGE = re.compile(r"(-?\d+(?:\.\d+)?)\s*(?:to|and|-|,|\.\.+)\s*(-?\d+(?:\.\d+)?)")
_REFERENCES = frozenset(
    {"reference", "reference_answer", "answer", "expected", "expected_answer", "expected_output", "ideal", "target", "gold"}
)
_QUESTIONS = frozenset({"question", "prompt", "input", "query", "task", "instruction"})


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.lower()))


_FILLERS = _words(
    "a an and are as at be been but by can do for from had has have he her his how i if in into is it its of on or our she so "
    "than that the their them then there these they this to was we were what when which who will with would you your"
)
_NEGATIONS = _words("no not never none cannot nothing neither nor without isn aren doesn don didn won wasn weren")
_RANKS = (
    _words("correct complete good pass passed yes true excellent accurate faithful relevant high supported better"),
    _words("partial partially partly mixed fair medium mostly acceptable neutral incomplete tie"),
    _words("evasive weak low poor unclear unsupported vague"),
    _words("incorrect wrong bad fail failed no false off inaccurate irrelevant unfaithful contradicted worse"),
)
_PAIR = frozenset({"output.A", "output.B"})
_TIE = "tie"
_NOISE = 0.04
_NO_REFERENCE = 0.5


@dataclass(frozen=True, slots=True)
class Opinion:
    """``agreement`` in [0, 1] and what it rests on. ``sides`` are those of a pair's outputs A and B, where there is a pair."""

    agreement: float
    reason: str
    sides: tuple[float, float] | None = None


def judge(texts: Sequence[str], *, seed: int = 0) -> Opinion:
    """The opinion on the fenced sample in a conversation's `texts`, or on the fenced pair of outputs."""
    fences = {name: content for text in texts for _, name, content in _FENCE.findall(text)}
    if fences.keys() >= _PAIR:
        a, b = (_opinion(fences[name], fences, seed) for name in sorted(_PAIR))
        reason = f"A: {a.reason} B: {b.reason}"
        return Opinion(_clamped(0.5 + (a.agreement - b.agreement) / 2), reason, (a.agreement, b.agreement))
    output = fences.get("sample.output_text")
    if output is None:
        output = next((content for name, content in fences.items() if name.startswith("sample.")), "")
    return _opinion(output, fences, seed)


def _opinion(output: str, fences: dict[str, str], seed: int) -> Opinion:
    reference, question = _field(fences, _REFERENCES), _field(fences, _QUESTIONS) or ""
    noise = (crc32(f"{seed}\0{output}\0{reference}".encode()) % 1001 / 500 - 1) * _NOISE
    if reference is None:
        return Opinion(_clamped(_NO_REFERENCE + 10 * noise), "Simulated: no reference to compare with.")
    agreement, why = _agreement(output, reference, question)
    return Opinion(_clamped(agreement + noise), f"Simulated: {why}.")


def _field(fences: dict[str, str], names: frozenset[str]) -> str | None:
    return next((text for name, text in fences.items() if name.startswith("item.") and name.split(".")[-1] in names), None)


def _agreement(output: str, reference: str, question: str) -> tuple[float, str]:
    said, wanted, asked = _words(output), _words(reference), _words(question)
    if not said:
        return 0.0, "there is no answer"
    content = wanted - _FILLERS or wanted
    # What the question says already proves nothing; what the reference adds is the answer.
    added = content - asked or content
    weights = {word: 3 if word in added else 1 for word in content}
    found = sum(weight for word, weight in weights.items() if word in said)
    agreement = found / sum(weights.values()) if weights else 1.0
    why = f"{len(content & said)} of {len(content)} content words of the reference are in the answer"
    numbers = {word for word in added if word[0].isdigit()}
    if numbers - said:
        agreement, why = agreement / 2, f"{why}, a number is missing"
    if bool(said & _NEGATIONS) != bool(wanted & _NEGATIONS):
        agreement, why = agreement / 2, f"{why}, one of them is a negation"
    return agreement, why


def _clamped(value: float) -> float:
    return min(1.0, max(0.0, value))


def fill(schema: dict[str, Any], opinion: Opinion) -> Any:
    """A value that fits `schema` (the subset that structured output takes) and states `opinion`."""
    if "const" in schema:
        return schema["const"]
    if choices := schema.get("enum"):
        return (
            _better(choices, opinion.sides)
            if opinion.sides and {"A", "B"} <= set(choices)
            else _choice(choices, opinion.agreement)
        )
    if options := schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf"):
        return fill(options[0], opinion)
    kind = schema.get("type")
    return _of_type(kind[0] if isinstance(kind, list) else kind, schema, opinion)


def _of_type(kind: str | None, schema: dict[str, Any], opinion: Opinion) -> Any:
    value: Any = opinion.reason
    if kind == "object":
        value = {name: fill(part, _about(name, opinion)) for name, part in schema.get("properties", {}).items()}
    elif kind == "array":
        value = [fill(schema.get("items", {}), opinion)]
    elif kind in ("number", "integer"):
        value = _number(schema, opinion.agreement)
    elif kind == "boolean":
        value = opinion.agreement >= _NO_REFERENCE
    elif kind == "null":
        value = None
    return value


def _about(name: str, opinion: Opinion) -> Opinion:
    """The opinion that the property `name` states: ``score_a`` and ``score_b`` are about one side of a pair."""
    if opinion.sides is None or name not in ("score_a", "score_b"):
        return opinion
    return Opinion(opinion.sides[name == "score_b"], opinion.reason)


def _better(choices: list[Any], sides: tuple[float, float]) -> Any:
    """The better side; a tie where no more than noise lies between them, and ties are among `choices`."""
    a, b = sides
    if _TIE in choices and abs(a - b) <= 2 * _NOISE:
        return _TIE
    return "A" if a >= b else "B"


def _number(schema: dict[str, Any], agreement: float) -> float:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is None or high is None:
        told = _RANGE.search(str(schema.get("description", "")))
        low, high = (float(told[1]), float(told[2])) if told else (0.0, 1.0)
    value = low + agreement * (high - low)
    whole = schema.get("type") == "integer"
    return round(value) if whole else round(value, 2)


def _choice(choices: list[Any], agreement: float) -> Any:
    """One of `choices`, best first: by words known to praise or blame if all of them are, else as they stand."""
    ranks = [_rank(choice) for choice in choices]
    if None not in ranks:
        choices = [choice for _, choice in sorted(zip(ranks, choices, strict=True), key=lambda pair: pair[0] or 0)]
    return choices[min(int((1 - agreement) * len(choices)), len(choices) - 1)]


def _rank(choice: Any) -> int | None:
    words = _words(str(choice).replace("_", " "))
    # From the worst: "partially incorrect" is no praise, nor is "not relevant" (negations count as blame).
    if words & _NEGATIONS:
        return len(_RANKS) - 1
    return next((rank for rank in (3, 2, 1, 0) if words & _RANKS[rank]), None)

"""The evaluations that scenarios ask for, and what became of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.rig.arrivals import NUMBER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.rig.arrivals import Answer

RIGHT = '"passed":true,"usage"'
"""What the evaluations below have in their answers, verdict and all."""

_OK = 200
_SAID = "cedar delta ember fjord grove harbor"
_LINE = "The quick brown fox jumps over the lazy dog, and the “judge” says that this is line %06d.\n"


def evaluation(item_id: str = NUMBER, *, text_bytes: int = 0, evaluation_id: str = "") -> str:
    """A judge that is shown the item, and a check over the whole sample of at least `text_bytes`.

    With a number in `item_id` every request is about another item, so that no answer comes from a cache.
    """
    body: dict[str, Any] = {
        "item": {"id": item_id, "reference": _SAID, "said": _SAID},
        "sample": {"output_text": _text(text_bytes) + _SAID},
        "graders": [_JUDGE, _CHECK],
    }
    return json.dumps(body | ({"evaluation_id": evaluation_id} if evaluation_id else {}), ensure_ascii=False)


def _text(text_bytes: int) -> str:
    return "".join(_LINE % number for number in range(-(-text_bytes // len((_LINE % 0).encode()))))


_JUDGE = {
    "type": "label_model",
    "name": "quality",
    "model": "judge",
    "labels": ["good", "fair", "poor"],
    "passing_labels": ["good", "fair", "poor"],
    "input": [
        {
            "role": "user",
            "content": "Item:\n{{item.id}}\nReference:\n{{item.reference}}\nGrader: quality\nAnswer:\n{{item.said}}",
        }
    ],
}
_CHECK = {
    "type": "string_check",
    "name": "ends",
    "operation": "like",
    "input": "{{sample.output_text}}",
    "reference": "{{item.reference}}",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """Counts of answers: judged in full, judged in part (a grader is unscored), refused with ``Retry-After``, all others."""

    judged: int
    partly: int
    refused: int
    wrong: int


def outcome(answers: Sequence[Answer]) -> Outcome:
    """How a load fared."""
    judged = sum(answer.right for answer in answers)
    partly = sum(answer.status == _OK and not answer.right for answer in answers)
    refused = sum(answer.refused for answer in answers)
    return Outcome(judged, partly, refused, len(answers) - judged - partly - refused)


def explain(answers: Sequence[Answer]) -> str:
    """Statuses that are neither 200 nor a refusal, with their counts, for people."""
    wrong = [answer.status for answer in answers if answer.status != _OK and not answer.refused]
    return ", ".join(f"{wrong.count(status)} x {status}" for status in sorted(set(wrong)))

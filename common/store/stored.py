"""The stored form of samples and verdicts: short, because a run may have a million of them.

A verdict is the JSON array ``[score, passed, {the rest}]``: null for none, 1 and 0 for true and false. The rest is left out
where there is none, as with most deterministic graders; name and type are the plan's. Fields of hashes are small integers.
Together they let a hash of 64 items stay in the server's compact encoding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from common.schemas.evaluation import Verdict
from common.schemas.runs import StoredSample
from common.store import keys

if TYPE_CHECKING:
    from common.schemas.graders import Grader

_OUTSIDE = {"name", "type", "score", "passed"}  # of the rest
_EMPTY: dict[str, Any] = {"ballots": [], "details": {}, "calls": []}  # given, so that no defaults are copied
_EXACT = 2.0**53  # below it every whole float is an integer of JSON


def sample_field(index: int) -> str:
    """An item's sample in the hash of its bucket."""
    return str(index % keys.BUCKET)


def verdict_field(index: int, grader: int) -> str:
    """A grader's verdict on an item in the hash of the item's bucket."""
    return str(grader * keys.BUCKET + index % keys.BUCKET)


def pack_sample(sample: StoredSample) -> bytes:
    """`sample` as it is stored."""
    return orjson.dumps(sample.model_dump(mode="json", exclude_computed_fields=True, exclude_defaults=True))


def unpack_sample(raw: bytes) -> StoredSample:
    """The sample that `pack_sample` packed."""
    return StoredSample.model_validate_json(raw)


def pack_verdict(verdict: Verdict) -> bytes:
    """`verdict` as it is stored, its latencies rounded to milliseconds."""
    rest = verdict.model_dump(mode="json", exclude_computed_fields=True, exclude_defaults=True, exclude=_OUTSIDE)
    for timed in (rest, *rest.get("calls", ())):
        if latency_ms := round(timed.pop("latency_ms", 0.0)):
            timed["latency_ms"] = latency_ms
    head = [_short(verdict.score), None if verdict.passed is None else int(verdict.passed)]
    return orjson.dumps([*head, rest] if rest else head)


def unpack_verdict(raw: bytes, grader: Grader) -> Verdict:
    """The verdict of `grader` that `pack_verdict` packed."""
    score, passed, *rest = orjson.loads(raw)
    head = {"name": grader.name, "type": grader.type, "score": score, "passed": None if passed is None else bool(passed)}
    return Verdict.model_validate(head | _EMPTY | (rest[0] if rest else {}))


def _short(number: float | None) -> float | None:
    """A whole number without its ``.0``."""
    return int(number) if number is not None and abs(number) < _EXACT and number == int(number) else number

"""Items that could not be finished: when they are due again, whether that was an attempt, and what the run waits for."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from common.errors import BreakerOpen, KnudgeError, NoLongerWanted, Overloaded, ProviderError, ProviderRateLimited
from common.observability.logs import log
from common.ports import HandBack

if TYPE_CHECKING:
    from collections.abc import Mapping

    from common.schemas.progress import WaitReason

# What says nothing about the item: it could not even be tried.
_NOT_TRIED = (Overloaded, ProviderRateLimited, BreakerOpen, NoLongerWanted)
_SOON_S, _LATEST_S = 1.0, 60.0
_NEXT_TURN_S = 10.0  # a queue's length is a guess: who waits for the end of it comes too late when it gets shorter
_LIMITS: dict[str, WaitReason] = {"concurrency": "concurrency", "budget": "budget"}


def handed_back(failure: KnudgeError) -> HandBack:
    """How an item goes back to its run after `failure`, which may pass."""
    latest_s = _NEXT_TURN_S if isinstance(failure, Overloaded) else _LATEST_S
    after_s = min(latest_s, max(_SOON_S, failure.retry_after_s or _SOON_S))
    return HandBack(
        after_s,
        counts=not isinstance(failure, _NOT_TRIED),
        code=failure.code,
        reason=_reason(failure),
        model=failure.model if isinstance(failure, (ProviderError, Overloaded)) else "",
    )


def log_items(run_id: str, done: list[int], back: Mapping[int, HandBack]) -> None:
    """What became of an event's items: a line for those that are judged, and one for each reason to give some back."""
    if done:
        log("evaluate.items_judged", run_id=run_id, items=done)
    by_code: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for index, one in back.items():
        by_code[one.code, one.model].append(index)
    for (code, model), items in by_code.items():
        due_in_s = max(back[index].after_s for index in items)
        log("evaluate.items_handed_back", run_id=run_id, items=items, code=code, model=model, due_in_s=round(due_in_s, 3))


def _reason(failure: KnudgeError) -> WaitReason:
    if isinstance(failure, ProviderRateLimited):
        return "rate_limit"
    if isinstance(failure, Overloaded):
        return _LIMITS.get(failure.limit, "rate_limit")
    if isinstance(failure, BreakerOpen):
        return "breaker"
    return "paused" if isinstance(failure, NoLongerWanted) else "provider"

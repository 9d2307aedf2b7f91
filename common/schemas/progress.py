"""How a run gets on: how fast, until when, and what it waits for."""

from __future__ import annotations

from typing import Literal, get_args

from common.schemas.base import Model

WaitReason = Literal["rate_limit", "concurrency", "breaker", "budget", "provider", "broker", "store", "paused"]
WAIT_REASONS: frozenset[str] = frozenset(get_args(WaitReason))
WAIT_WORDS: dict[WaitReason, str] = {
    "rate_limit": "the rate limit",
    "concurrency": "a free call",
    "breaker": "the breaker",
    "budget": "money in the budget",
    "provider": "the provider",
    "broker": "the broker",
    "store": "the store",
    "paused": "somebody to resume it",
}


class WaitingFor(Model):
    """Something that a run waits for. ``since`` is in unix seconds.

    ``model`` is the ``provider:model`` concerned, None where that is not known or none is. ``items`` are those that wait for
    leave to call it right now, or how often items were handed back since then; None where nobody counts.
    """

    reason: WaitReason
    model: str | None = None
    since: int
    items: int | None = None


class RunProgress(Model):
    """Of a run that has not ended.

    ``items_per_s`` is over the last minute, ``items_per_s_overall`` since the start; None before anything can be said.
    ``eta_s``: seconds until the end at this pace. ``outstanding`` items are issued and not counted yet, ``window`` at most;
    ``under_way`` of them some process works on, ``handed_back`` wait to be issued again. ``cost_projected_usd`` is what the
    whole run comes to if the rest costs what the first items did.
    """

    items_per_s: float | None = None
    items_per_s_overall: float | None = None
    eta_s: int | None = None
    window: int = 0
    outstanding: int = 0
    under_way: int = 0
    handed_back: int = 0
    cost_projected_usd: float | None = None
    waiting_for: list[WaitingFor] = []

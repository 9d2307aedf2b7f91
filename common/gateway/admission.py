"""Asking the shared state for leave to call a model, and telling it what became of the call: one round trip each."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from common.errors import BreakerOpen, BudgetExhausted, Overloaded, ProviderRateLimited
from common.gateway import keys
from common.gateway.arrears import Arrears
from common.gateway.hints import paces
from common.gateway.metrics import BUDGET_EVENTS
from common.gateway.ticket import Later, Outcome, Settled, Ticket
from common.observability.logs import log
from common.schemas.completion import BudgetLevel
from common.schemas.evaluation import Usage
from common.store.scripts import Script, ScriptRunner

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis.asyncio import Redis

    from common.errors import KnudgeError
    from common.schemas.config import GatewayConfig
    from common.store.scripts import Word

# Providers count calls in a window of a minute. What goes at once after a quiet time comes on top of the pace, so the pace
# keeps a little below the limit: 0.99 + 0.25 s / 60 s is still below 1, and from 200 a minute on so is one call more.
PACE = 0.99
BURST_MS = 250
_PERMIT_SLACK_MS = 5_000
# A provider may tell one caller to wait for an hour; the cluster asks again after a minute.
_PAUSE_MAX_S = 60.0
_STATE_MS = 3_600_000
_COUNTERS_MS = 30 * 24 * 3_600_000


class Admission:
    """The two scripts. Every method is one round trip, shared with whatever else is asked at the same moment."""

    def __init__(
        self, redis: Redis, config: GatewayConfig, listeners: Sequence[Any] = (), *, runner: ScriptRunner | None = None
    ) -> None:
        self._runner = runner or ScriptRunner(redis)
        self._config = config
        self._listeners = tuple(listeners)
        self._admit, self._settle = Script("admission.lua"), Script("settle.lua")
        self._states: dict[str, str] = {}
        self._breakers: Any = None
        self._registered: set[str] = set()
        self._arrears = Arrears()

    @property
    def runner(self) -> ScriptRunner:
        """What else touches the shared store on a call's way goes in the same trips."""
        return self._runner

    async def admit(self, ticket: Ticket, *, max_wait_s: float, timeout_s: float) -> Ticket | Later:
        """The ticket, granted; or when to ask again. A ticket granted before keeps its place and is only checked again.

        Raises:
            BreakerOpen, ProviderRateLimited, Overloaded: it cannot go within `max_wait_s`; ``retry_after_s`` says when.
            BudgetExhausted: a hard budget has not enough left, whatever calls under way give back.
            StoreUnavailable: nobody knows.
        """
        answer = self._runner.submit(self._admit, self._keys(ticket), self._question(ticket, max_wait_s, timeout_s))
        try:
            decision, wait_ms, state, *details = await asyncio.shield(answer)
        except asyncio.CancelledError:
            answer.add_done_callback(lambda done: self._give_back(ticket, done))
            raise
        self._settle_arrears()
        self._follow(ticket.model, state.decode())
        if decision == b"no":
            raise _refusal(ticket, details[0].decode(), wait_ms / 1000, budget=details[1])
        if decision == b"later":
            return Later(wait_ms / 1000, details[0].decode())
        return _granted(ticket, wait_ms, details)

    async def settle(self, ticket: Ticket, outcome: Outcome) -> Settled:
        """Tell what became of a granted call. It is told even if the waiting for it is cancelled.

        Raises:
            StoreUnavailable: it is not counted yet. What a full or read-only store refused is told again when it answers.
        """
        state_before, state_after, *budgets = await asyncio.shield(self._submit_settle(ticket, outcome))
        self._settle_arrears()
        self._follow(ticket.model, state_before.decode())
        self._follow(ticket.model, state_after.decode())
        return Settled(_levels(ticket, budgets)) if budgets else Settled()

    def leave(self, ticket: Ticket) -> None:
        """Give up waiting for a permit, so that nobody behind it waits for a caller who is not there."""
        for key in (keys.queue(ticket.model), keys.waiting(ticket.model)):
            self._runner.send_along("ZREM", key, ticket.call_id)

    async def drain(self) -> None:
        """Return when everything has been told that can be."""
        self._settle_arrears()
        await self._runner.drain()

    def _submit_settle(self, ticket: Ticket, outcome: Outcome) -> asyncio.Future[list[Any]]:
        if ticket.model not in self._registered and (outcome.result == "success" or ticket.model in self._config.models):
            self._registered.add(ticket.model)
            self._runner.send_along("SADD", keys.MODELS, ticket.model)
        model = ticket.model
        shared = [keys.state(model), keys.permits(model), keys.counters(model), keys.window(model)]
        answer = self._runner.submit(self._settle, [*shared, *_budget_keys(ticket)], self._report(ticket, outcome))
        answer.add_done_callback(partial(self._arrears.note, ticket, outcome))
        return answer

    def _settle_arrears(self) -> None:
        """The store takes writes again: tell it what it refused. Costs nothing when there is nothing."""
        for ticket, outcome in self._arrears.take():
            self._submit_settle(ticket, outcome)

    def _give_back(self, ticket: Ticket, answer: asyncio.Future[list[Any]]) -> None:
        """The caller went away while asking: what was granted meanwhile must not stay reserved."""
        if answer.cancelled() or answer.exception() is not None:
            return
        decision, wait_ms, _, *details = answer.result()
        if decision == b"go":
            self._submit_settle(_granted(ticket, wait_ms, details), Outcome("unsent"))
        elif decision == b"later":
            self.leave(ticket)

    def _keys(self, ticket: Ticket) -> list[str]:
        model = ticket.model
        shared = [keys.state(model), keys.permits(model), keys.counters(model), keys.queue(model), keys.waiting(model)]
        return [*shared, *_budget_keys(ticket)]

    def _question(self, ticket: Ticket, max_wait_s: float, timeout_s: float) -> list[Word]:
        limits, wanted = ticket.config, ticket.reservation
        return [
            ticket.call_id,
            int(max_wait_s * 1000),
            (limits.rpm or 0) * PACE,
            (limits.tpm or 0) * PACE,
            ticket.tokens,
            limits.max_concurrency or 0,
            int(timeout_s * 1000) + _PERMIT_SLACK_MS,
            int(self._config.breaker.reset_s * 1000),
            BURST_MS,
            _STATE_MS,
            int(ticket.granted),
            ticket.microusd if ticket.granted else wanted.microusd,
            wanted.least,
            int(ticket.urgent),
            f"{ticket.pushed_ms:.3f}",
            *(word for budget in wanted.budgets for word in (_or_none(budget.hard), budget.keep_ms)),
        ]

    def _report(self, ticket: Ticket, outcome: Outcome) -> list[Word]:
        breaker, (requests, tokens) = self._config.breaker, paces(outcome.hints)
        budgets = ticket.reservation.budgets
        return [
            ticket.call_id,
            outcome.result,
            ticket.request_ms,
            ticket.token_ms,
            ticket.taken,
            outcome.usage.total_tokens if outcome.usage and outcome.usage.total_tokens else -1,
            ticket.config.max_concurrency or 0,
            int(min(outcome.retry_after_s, _PAUSE_MAX_S) * 1000),
            breaker.window_s,
            breaker.min_calls,
            breaker.failure_rate,
            _STATE_MS,
            _COUNTERS_MS,
            int(ticket.config.learns_pace),
            requests.each_ms,
            requests.for_ms,
            tokens.each_ms,
            tokens.for_ms,
            ticket.microusd,
            _charged(outcome),
            ticket.tokens,
            int(ticket.urgent),
            len(budgets),
            *(word for budget in budgets for word in (_or_none(budget.hard), _or_none(budget.soft), budget.keep_ms)),
            *_increments(outcome),
        ]

    def _follow(self, model: str, state: str) -> None:
        if self._states.get(model, "closed") == state:
            return
        self._states[model] = state
        if self._breakers is None:
            from common.gateway.breaker import Breakers

            self._breakers = Breakers(self._listeners)
        self._breakers.follow(model, state)


def _budget_keys(ticket: Ticket) -> list[str]:
    return [key for b in ticket.reservation.budgets for key in (keys.budget(b.scope), keys.reservations(b.scope))]


def _or_none(limit: int | None) -> int:
    return -1 if limit is None else limit


def _granted(ticket: Ticket, wait_ms: int, details: Sequence[Any]) -> Ticket:
    """Note the answer ``go``. A ticket that was granted before keeps what it paid with."""
    _, request_ms, token_ms, taken, microusd, pushed_ms = details
    if not ticket.granted:
        ticket.taken, ticket.microusd = taken, microusd
        ticket.request_ms, ticket.token_ms = float(request_ms), float(token_ms)
    ticket.wait_s, ticket.granted, ticket.pushed_ms = wait_ms / 1000, True, float(pushed_ms)
    return ticket


def _charged(outcome: Outcome) -> int:
    """Micro-dollars for the budgets; -1 for a call that was or may have been paid, nobody knows how dearly."""
    if outcome.cost_microusd is not None:
        return outcome.cost_microusd
    return -1 if outcome.result == "success" or outcome.billed else 0


def _levels(ticket: Ticket, answers: Sequence[Sequence[int]]) -> tuple[BudgetLevel, ...]:
    """The budgets as they are now; says so where one has just reached its soft limit, which one process in the cluster sees."""
    levels = []
    for budget, (spent, reached, reserved) in zip(ticket.reservation.budgets, answers, strict=True):
        levels.append(BudgetLevel(budget.scope, spent, reserved, budget.soft, budget.hard))
        if reached:
            BUDGET_EVENTS.inc(budget.scope.partition(":")[0], "soft")
            log(
                "gateway.budget.soft_limit_reached",
                level=logging.WARNING,
                budget=budget.scope,
                spent_microusd=spent,
                soft_microusd=budget.soft,
                hard_microusd=budget.hard,
            )
    return tuple(levels)


def _increments(outcome: Outcome) -> list[str | int]:
    """Counter names and increments. Latency is summed over answered calls, so that its mean is that of answers."""
    if outcome.result in ("cancelled", "unsent"):
        return [outcome.result, 1]
    if outcome.result != "success":
        return [f"error:{outcome.code}", 1]
    usage = outcome.usage or Usage()
    amounts = {
        "calls": 1,
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "cached_tokens": usage.cached_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "microusd": outcome.cost_microusd or 0,
        "unpriced": int(outcome.cost_microusd is None),
        "latency_ms": round(outcome.latency_ms),
    }
    return [part for name, amount in amounts.items() if amount for part in (name, amount)]


def _refusal(ticket: Ticket, reason: str, wait_s: float, *, budget: int) -> KnudgeError:
    model = ticket.model
    if reason == "budget":
        scope = ticket.reservation.budgets[budget].scope
        BUDGET_EVENTS.inc(scope.partition(":")[0], "exhausted")
        log(
            "gateway.budget.exhausted",
            level=logging.WARNING,
            budget=scope,
            model=model,
            needed_microusd=ticket.reservation.least,
        )
        return BudgetExhausted(f"{model}: the hard budget of {scope} has too little left for this call")
    if reason == "open":
        return BreakerOpen(
            f"{model} is left alone for now: too many of its last calls failed", model=model, retry_after_s=wait_s
        )
    if reason == "blocked":
        return ProviderRateLimited(
            f"{model}: the provider asked for a pause that outlasts the deadline", model=model, retry_after_s=wait_s
        )
    what = f"no capacity under its {reason} limit within the deadline"
    return Overloaded(f"{model}: {what}", retry_after_s=wait_s, model=model, limit=reason)

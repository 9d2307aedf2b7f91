"""One attempt at one model: leave asked, waited for, used, and accounted for, however it ends."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

from common.errors import (
    BudgetExhausted,
    DeadlineExceeded,
    InvalidInput,
    MalformedReply,
    NoLongerWanted,
    Overloaded,
    ProviderError,
    ProviderRateLimited,
    ProviderTimeout,
    ProviderUnavailable,
    StoreUnavailable,
)
from common.gateway.budgets import reserve
from common.gateway.cost import cost_microusd, estimated_tokens
from common.gateway.metrics import ATTEMPT_SECONDS, ATTEMPTS, UNLIMITED_CALLS, WAIT_SECONDS
from common.gateway.names import split
from common.gateway.ticket import Later, Outcome, Ticket
from common.observability.logs import log

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from random import Random

    from common.gateway.admission import Admission
    from common.gateway.budgets import Budget
    from common.gateway.ticket import Result
    from common.schemas.completion import BudgetLevel, Completion, CompletionRequest, StreamChunk
    from common.schemas.config import ModelConfig, StoreFailureConfig
    from common.schemas.evaluation import ModelCall
    from common.schemas.progress import WaitReason

# A reservation may be slept for this long before the breaker is asked again: no process sends to a model that another one
# saw die more than a second ago.
_FRESH_S = 1.0
_FAILURES = (ProviderRateLimited, ProviderUnavailable, ProviderTimeout, MalformedReply)
_PROVIDER_WELL = frozenset(range(400, 500)) - {408, 429}
_INTEREST_S = 0.3
_POLL_JITTER = 0.5
_TAKEN = {
    "budget": "what is left of its budget is reserved",
    "concurrency": "all its permits are in use",
    "rate_limit": "other calls use up its limit",
}
_POLL_DOUBLINGS = 4


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What attempts share: the limits, what to do without them, and time and chance as they were handed in."""

    admission: Admission
    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    rng: Random
    on_store_failure: StoreFailureConfig


@dataclass(frozen=True, slots=True)
class Asked:
    """One question to one model: its resolved name, its limits, the budgets that hold."""

    model: str
    request: CompletionRequest
    config: ModelConfig
    budgets: tuple[Budget, ...] = ()


@dataclass(slots=True)
class Attempt:
    """What the caller of `attempt` fills in. ``timeout_s`` is what the provider is given; ``began_s`` when it was asked.

    ``max_tokens`` is the longest answer that budgets pay for, None without a hard one; ``cut`` says that it is less than was
    asked for. ``budgets`` are those of the call, after it.
    """

    model: str
    config: ModelConfig
    timeout_s: float
    began_s: float
    max_tokens: int | None = None
    cut: bool = False
    outcome: Outcome = field(default_factory=lambda: Outcome("cancelled", billed=True))
    budgets: tuple[BudgetLevel, ...] = ()

    def succeeded(self, answer: Completion | StreamChunk, call: ModelCall, *, now_s: float) -> ModelCall:
        """Note an answer. The call as it is to be reported, with what it cost and how long it took.

        What the provider says it charged goes before the price table.
        """
        latency_ms = (now_s - self.began_s) * 1000
        paid = cost_microusd(call.usage, self.config.price) if call.cost_microusd is None else call.cost_microusd
        self.outcome = Outcome("success", usage=call.usage, cost_microusd=paid, latency_ms=latency_ms, hints=answer.hints)
        return call.model_copy(update={"cost_microusd": paid, "latency_ms": latency_ms})

    def check_whole(self, finish_reason: str | None) -> None:
        """Raises `BudgetExhausted` for an answer that ended where the budget did: half an answer must not be judged."""
        if self.cut and finish_reason == "length":
            raise BudgetExhausted(f"{self.model}: a hard budget ended before the answer did")


@asynccontextmanager
async def attempt(asked: Asked, around: Surroundings, *, deadline_s: float) -> AsyncIterator[Attempt]:
    """Wait for leave to call the model, then account for what happens inside. Two round trips, more only after long waits.

    Raises:
        DeadlineExceeded, Overloaded, BreakerOpen, ProviderRateLimited, StoreUnavailable: there was no leave.
        BudgetExhausted: there is not enough money left, or no price to reckon with.
    """
    model, config = asked.model, asked.config
    reservation = reserve(asked.request, config, asked.budgets, model=model)
    urgent, tokens = not asked.request.origin.bulk, estimated_tokens(asked.request, config)
    ticket = Ticket(model, config, tokens, reservation=reservation, urgent=urgent)
    under_way: Attempt | None = None
    asked_s = around.clock()
    try:
        await _wait_for_leave(ticket, around, deadline_s, asked.request)
        now_s = around.clock()
        WAIT_SECONDS.observe(now_s - asked_s, split(model)[0])
        under_way = Attempt(model, config, min(config.timeout_s, deadline_s - now_s), now_s)
        if ticket.granted:
            under_way.max_tokens, under_way.cut = ticket.max_tokens, ticket.microusd < reservation.microusd
        yield under_way
    except ProviderError as error:
        if under_way is not None:
            under_way.outcome = _failed(error, under_way)
        raise
    except InvalidInput:
        if under_way is not None:
            under_way.outcome = Outcome("unsent")
        raise
    finally:
        if ticket.granted:
            outcome = Outcome("unsent") if under_way is None else under_way.outcome
            levels = await _settle(ticket, outcome, around.admission)
            if under_way is not None:
                under_way.budgets = levels


async def _wait_for_leave(ticket: Ticket, around: Surroundings, deadline_s: float, request: CompletionRequest) -> None:
    queued = False
    try:
        for polls in count():
            answer, max_wait_s = await _ask(ticket, around, deadline_s)
            queued = isinstance(answer, Later) and answer.reason == "concurrency"
            if isinstance(answer, Later):
                wait_s = _poll_s(ticket, answer, polls, max_wait_s, around.rng)
                await _sleep(wait_s, around, request, model=ticket.model, reason=answer.reason)
                continue
            await _sleep(answer.wait_s if answer is not None else 0.0, around, request, model=ticket.model)
            if answer is None or answer.wait_s <= _FRESH_S:
                return
    finally:
        if queued:
            around.admission.leave(ticket)


async def _sleep(
    seconds: float, around: Surroundings, request: CompletionRequest, *, model: str, reason: WaitReason = "rate_limit"
) -> None:
    """Sleep, in short pieces where somebody may lose interest. Raises `NoLongerWanted`."""
    still_wanted = request.still_wanted
    if request.waits is not None and seconds > 0:
        request.waits(model, reason, seconds)
    while True:
        if still_wanted is not None and not still_wanted():
            raise NoLongerWanted("the call is no longer wanted", retry_after_s=1.0)
        if seconds <= 0:
            return
        piece = seconds if still_wanted is None else min(seconds, _INTEREST_S)
        await around.sleep(piece)
        seconds -= piece


async def _ask(ticket: Ticket, around: Surroundings, deadline_s: float) -> tuple[Ticket | Later | None, float]:
    """The answer, None when the store has none and the call goes without; and the longest wait in seconds."""
    remaining_s = deadline_s - around.clock()
    if remaining_s <= 0:
        raise DeadlineExceeded(f"{ticket.model}: the deadline passed before the call could be made")
    # Waiting may not eat the time that the call itself needs.
    timeout_s = min(ticket.config.timeout_s, remaining_s)
    max_wait_s = remaining_s - min(timeout_s, remaining_s / 2)
    try:
        return await around.admission.admit(ticket, max_wait_s=max_wait_s, timeout_s=timeout_s), max_wait_s
    except StoreUnavailable:
        rules, hard = around.on_store_failure, ticket.reservation.longest is not None
        if rules.limits == "closed" or (hard and rules.budgets == "closed"):
            raise
        UNLIMITED_CALLS.inc(split(ticket.model)[0])
        log("gateway.limits.skipped", level=logging.WARNING, model=ticket.model)
        return None, max_wait_s


def _poll_s(ticket: Ticket, later: Later, polls: int, max_wait_s: float, rng: Random) -> float:
    """How long to sleep. Raises `Overloaded` when there is no time for that."""
    wait_s = later.wait_s * (1 + rng.random() * _POLL_JITTER)
    if later.reason == "budget":
        # Whoever asks first after a call has given back gets what there is: the more that ask, the less often each of them.
        wait_s *= 2 ** min(polls, _POLL_DOUBLINGS)
    if wait_s > max_wait_s:
        raise Overloaded(
            f"{ticket.model}: {_TAKEN[later.reason]}", retry_after_s=wait_s, model=ticket.model, limit=later.reason
        )
    return wait_s


def _failed(error: ProviderError, under_way: Attempt) -> Outcome:
    log(
        "gateway.attempt.failed",
        level=logging.WARNING,
        model=under_way.model,
        code=error.code,
        status=error.status,
        retry_after_s=error.retry_after_s,
    )
    return Outcome(
        _blame(error, under_way),
        code=error.code,
        retry_after_s=error.retry_after_s or 0.0,
        hints=error.hints,
        # Nobody knows what became of a call that was not answered in time; a malformed answer was made, and is on the bill.
        billed=isinstance(error, MalformedReply) or (isinstance(error, ProviderTimeout) and error.status is None),
    )


def _blame(error: ProviderError, under_way: Attempt) -> Result:
    if isinstance(error, ProviderRateLimited) and (under_way.config.learns_pace or error.retry_after_s):
        return "limited"  # everybody goes slower from here on: that is the remedy, and a closed door would be none
    if isinstance(error, ProviderTimeout) and error.status is None and under_way.timeout_s < under_way.config.timeout_s:
        return "cancelled"  # the caller's deadline was short, which says nothing about the provider
    if isinstance(error, _FAILURES) and error.status not in _PROVIDER_WELL:
        return "failure"
    return "rejected"


async def _settle(ticket: Ticket, outcome: Outcome, admission: Admission) -> tuple[BudgetLevel, ...]:
    provider = split(ticket.model)[0]
    ATTEMPTS.inc(provider, outcome.code or outcome.result)
    if outcome.result == "success":
        ATTEMPT_SECONDS.observe(outcome.latency_ms / 1000, provider)
    try:
        return (await admission.settle(ticket, outcome)).budgets
    except StoreUnavailable:
        # The answer is there and paid for: it is worth more than its place in the counters. Permits expire by themselves.
        return ()

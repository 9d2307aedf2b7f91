"""Reads of the store, one trip each but for the models', which take three."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from common.errors import NotFound
from common.gateway.budgets import scopes_of
from common.gateway.counters import read_counters
from common.gateway.levels import read_levels
from common.gateway.spending import read_budgets
from common.limits.status import read_callers
from common.schemas.evaluation import MICRO, Usage, usd
from common.store import keys
from common.store.connect import store_errors
from common.store.runs import RunStore
from common.store.writing import write_refusal
from functions.health.status import BudgetStatus, CallersStatus, ModelStatus, RunsStatus, StoreStatus

if TYPE_CHECKING:
    from collections.abc import Iterable

    import redis

    from common.gateway.counters import ModelCounters
    from common.gateway.levels import ModelLevel
    from common.gateway.spending import Spending
    from common.schemas.config import BudgetsConfig
    from common.store.runstate import RunState

_SAMPLED_RUNS = 200


@dataclass(frozen=True, slots=True)
class Reader:
    """The numbers behind the status page and the metrics."""

    client: redis.Redis

    def store(self) -> StoreStatus:
        """How the server is. Three trips, one of which writes. Raises `StoreUnavailable`."""
        with store_errors():
            started_s = time.perf_counter()
            self.client.ping()
            ping_ms = (time.perf_counter() - started_s) * 1000
            info: dict[str, Any] = self.client.info()
        refuses_writes = write_refusal(self.client)
        return StoreStatus(
            reachable=True,
            ping_ms=round(ping_ms, 3),
            version=str(info.get("valkey_version") or info.get("redis_version") or ""),
            uptime_s=info.get("uptime_in_seconds"),
            memory_bytes=info.get("used_memory"),
            memory_limit_bytes=info.get("maxmemory") or None,
            eviction_policy=info.get("maxmemory_policy"),
            durable=bool(info.get("aof_enabled")),
            last_write_ok=info.get("aof_last_write_status", "ok") == "ok" and info.get("rdb_last_bgsave_status", "ok") == "ok",
            refuses_writes=refuses_writes,
        )

    def models(self, configured: Iterable[str]) -> list[ModelStatus]:
        """Every model that was called or is `configured`, by name. Three trips. Raises `StoreUnavailable`."""
        counters = read_counters(self.client, configured)
        levels = read_levels(self.client, [counter.model for counter in counters])
        return [_model(counter, level) for counter, level in zip(counters, levels, strict=True)]

    def budgets(self, config: BudgetsConfig, now_s: float) -> list[BudgetStatus]:
        """The configured ones, and those of runs under way that have spent anything. Two trips. Raises `StoreUnavailable`."""
        named = scopes_of(config, now_s=now_s)
        runs = [f"run:{run_id}" for run_id in RunStore(self.client).active()[:_SAMPLED_RUNS]]
        found = read_budgets(self.client, [*named, *runs])
        return [_budget(spending) for spending in found if spending.scope in named or spending.hard is not None]

    def runs(self, now_s: float) -> RunsStatus:
        """Runs that are under way. Two trips, and one more for each that ended in between. Raises `StoreUnavailable`."""
        store = RunStore(self.client)
        active = store.active()
        states = _states(store, active[:_SAMPLED_RUNS])
        return RunsStatus(
            active=len(active),
            sampled=len(states),
            by_status=dict(Counter(state.status for state in states)),
            items=sum(state.total for state in states),
            items_done=sum(state.done for state in states),
            items_outstanding=sum(state.outstanding for state in states),
            oldest_age_s=max((int(now_s) - state.created_at for state in states), default=None),
        )

    def callers(self, global_rpm: int | None) -> CallersStatus:
        """Limits for callers. One trip. Raises `StoreUnavailable`."""
        level = read_callers(self.client)
        return CallersStatus(
            global_rpm=global_rpm,
            global_rpm_now=None if global_rpm is None else int(global_rpm * (1.0 if level.factor is None else level.factor)),
            factor=level.factor,
            queue_age_s=level.queue_age_s,
            open_breaker_share=level.open_share,
            refused=level.refused,
        )

    def dead_letters(self) -> int:
        """Events that belong to no known run and could not be delivered. One trip. Raises `StoreUnavailable`."""
        with store_errors():
            return int(self.client.llen(keys.DEAD_LETTERS))


def _states(store: RunStore, run_ids: list[str]) -> list[RunState]:
    """States of runs that may be deleted meanwhile."""
    try:
        return store.states(run_ids) if run_ids else []
    except NotFound:
        return [state for run_id in run_ids if (state := _state(store, run_id)) is not None]


def _state(store: RunStore, run_id: str) -> RunState | None:
    try:
        return store.state(run_id)
    except NotFound:
        return None


def _budget(spending: Spending) -> BudgetStatus:
    return BudgetStatus(
        budget=spending.scope,
        spent_usd=spending.spent / MICRO,
        reserved_usd=spending.reserved / MICRO,
        assumed_usd=spending.assumed / MICRO,
        unpriced_calls=spending.unpriced_calls,
        soft_usd=usd(spending.soft),
        hard_usd=usd(spending.hard),
    )


def _model(counters: ModelCounters, level: ModelLevel) -> ModelStatus:
    return ModelStatus(
        model=counters.model,
        breaker=counters.breaker,
        in_flight=level.in_flight,
        requests_debt_s=round(level.requests_debt_s, 3),
        tokens_debt_s=round(level.tokens_debt_s, 3),
        paused_s=round(level.paused_s, 3),
        calls=counters.calls,
        errors=counters.errors,
        refused=counters.refused,
        usage=Usage(
            prompt_tokens=counters.prompt_tokens,
            completion_tokens=counters.completion_tokens,
            cached_tokens=counters.cached_tokens,
            reasoning_tokens=counters.reasoning_tokens,
        ),
        cost_usd=usd(counters.cost_microusd) or 0.0,
        unpriced_calls=counters.unpriced_calls,
        mean_latency_ms=round(counters.latency_ms / counters.calls, 1) if counters.calls else None,
    )

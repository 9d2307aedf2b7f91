"""What ``GET /`` answers."""

from __future__ import annotations

from typing import Literal

from common.schemas.base import Model
from common.schemas.evaluation import Usage

Level = Literal["ok", "degraded", "down"]


class StoreStatus(Model):
    """The Redis-protocol server. ``durable`` is False without an append-only file: what it holds does not survive it.

    ``refuses_writes`` says why a write that was tried was refused, None when it was taken.
    """

    reachable: bool
    ping_ms: float | None = None
    version: str | None = None
    uptime_s: int | None = None
    memory_bytes: int | None = None
    memory_limit_bytes: int | None = None
    eviction_policy: str | None = None
    durable: bool | None = None
    last_write_ok: bool | None = None
    refuses_writes: str | None = None


class ProviderStatus(Model):
    """A configured provider. ``key`` is False when the variable that should hold its key is empty, None if it needs none.

    It is None as well where no provider's key is to be seen: in a cluster only those functions have them that call models.
    """

    name: str
    kind: str
    key: bool | None


class ModelStatus(Model):
    """A model that was called or is configured: its breaker, how full its limits are, and its sums over all pods.

    ``requests_debt_s`` and ``tokens_debt_s`` are about how long a new call would wait for the model's limits; ``paused_s``
    is how long the provider asked for a pause. ``errors`` and ``refused`` are counts by code and reason.
    """

    model: str
    breaker: str
    in_flight: int
    requests_debt_s: float
    tokens_debt_s: float
    paused_s: float
    calls: int
    errors: dict[str, int]
    refused: dict[str, int]
    usage: Usage
    cost_usd: float
    unpriced_calls: int
    mean_latency_ms: float | None


class RunsStatus(Model):
    """Runs that have not ended, or whose end was not announced yet. Items are those of the `sampled` oldest runs."""

    active: int
    sampled: int
    by_status: dict[str, int]
    items: int
    items_done: int
    items_outstanding: int
    oldest_age_s: int | None


class BudgetStatus(Model):
    """A budget in US dollars: ``run:<id>``, ``key:<id>`` or ``project:<name>``, with the month or day it is for.

    ``reserved_usd`` is held by calls under way; ``assumed_usd`` is the part of ``spent_usd`` that nobody saw a bill for.
    ``unpriced_calls`` had no known cost.
    """

    budget: str
    spent_usd: float
    reserved_usd: float
    assumed_usd: float
    unpriced_calls: int
    soft_usd: float | None
    hard_usd: float | None


class CallersStatus(Model):
    """Limits for callers. ``global_rpm`` is configured, ``global_rpm_now`` what the load leaves of it.

    ``factor``, ``queue_age_s`` and ``open_breaker_share`` are those of the last look at the load, None when there was none for
    a minute. ``refused`` counts requests over all pods by the limit that was in the way.
    """

    global_rpm: int | None = None
    global_rpm_now: int | None = None
    factor: float | None = None
    queue_age_s: float | None = None
    open_breaker_share: float | None = None
    refused: dict[str, int]


class FunctionStatus(Model):
    """What a function's ``/readyz`` answered; ``status`` is None when it could not be reached."""

    name: str
    ready: bool
    status: int | None
    latency_ms: float


class HealthStatus(Model):
    """The whole system at a glance. ``reasons`` say in words why it is not ``ok``.

    ``prices_as_of`` is the day of the price table that came with this version.
    """

    status: Level
    reasons: list[str]
    store: StoreStatus
    providers: list[ProviderStatus]
    models: list[ModelStatus]
    runs: RunsStatus | None = None
    dead_letters: int | None = None
    callers: CallersStatus | None = None
    budgets: list[BudgetStatus] | None = None
    prices_as_of: str | None = None
    functions: list[FunctionStatus] | None = None

"""Cluster-wide numbers from the store, in Prometheus' terms. Pods come and go; these counters outlive them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from prometheus_client.core import Metric

    from functions.health.status import CallersStatus, ModelStatus, RunsStatus, StoreStatus

_BREAKER_STATES = ("closed", "half-open", "open")


def store_up(*, up: bool) -> Metric:
    """Whether the store could be read; without it every other metric here is missing."""
    return GaugeMetricFamily("knudge_store_up", "1 when the store answers.", value=int(up))


def store_metrics(store: StoreStatus) -> Iterator[Metric]:
    """The server itself."""
    yield GaugeMetricFamily("knudge_store_memory_bytes", "Memory in use.", value=store.memory_bytes or 0)
    yield GaugeMetricFamily(
        "knudge_store_durable", "1 with an append-only file whose last write was good.", value=_durable(store)
    )
    yield GaugeMetricFamily("knudge_store_writable", "1 when a write was taken.", value=int(store.refuses_writes is None))


def _durable(store: StoreStatus) -> int:
    return int(bool(store.durable and store.last_write_ok))


def run_metrics(runs: RunsStatus, dead_letters: int) -> Iterator[Metric]:
    """Runs under way. Items are those of the oldest 200."""
    by_status = GaugeMetricFamily("knudge_runs_active", "Runs under way or not announced yet.", labels=["status"])
    for status, count in sorted(runs.by_status.items()):
        by_status.add_metric([status], count)
    yield by_status
    items = GaugeMetricFamily("knudge_run_items", "Items of runs under way.", labels=["state"])
    waiting = runs.items - runs.items_done - runs.items_outstanding
    for state, count in (("done", runs.items_done), ("outstanding", runs.items_outstanding), ("waiting", max(0, waiting))):
        items.add_metric([state], count)
    yield items
    if runs.oldest_age_s is not None:
        yield GaugeMetricFamily(
            "knudge_runs_oldest_age_seconds", "Since the oldest of them was created.", value=runs.oldest_age_s
        )
    yield GaugeMetricFamily("knudge_dead_letters", "Undeliverable events that belong to no known run.", value=dead_letters)


def model_metrics(models: Sequence[ModelStatus]) -> Iterator[Metric]:
    """Calls, tokens, cost and errors by model, over all pods; they lapse 30 days after a model's last call."""
    calls = CounterMetricFamily("knudge_model_calls", "Answered calls.", labels=["model"])
    errors = CounterMetricFamily("knudge_model_errors", "Failed attempts.", labels=["model", "code"])
    refused = CounterMetricFamily("knudge_model_refused", "Calls not made: limits, breaker.", labels=["model", "reason"])
    tokens = CounterMetricFamily("knudge_model_tokens", "Tokens.", labels=["model", "kind"])
    cost = CounterMetricFamily("knudge_model_cost_usd", "Cost of calls with a known price.", labels=["model"])
    unpriced = CounterMetricFamily("knudge_model_unpriced_calls", "Calls without a known price.", labels=["model"])
    for model in models:
        calls.add_metric([model.model], model.calls)
        for code, count in sorted(model.errors.items()):
            errors.add_metric([model.model, code], count)
        for reason, count in sorted(model.refused.items()):
            refused.add_metric([model.model, reason], count)
        for kind in ("prompt", "completion", "cached", "reasoning"):
            tokens.add_metric([model.model, kind], getattr(model.usage, f"{kind}_tokens"))
        cost.add_metric([model.model], model.cost_usd)
        unpriced.add_metric([model.model], model.unpriced_calls)
    yield from (calls, errors, refused, tokens, cost, unpriced)


def level_metrics(models: Sequence[ModelStatus]) -> Iterator[Metric]:
    """Breakers and limits right now."""
    breaker = GaugeMetricFamily("knudge_model_breaker", "1 for the state the breaker is in.", labels=["model", "state"])
    debt = GaugeMetricFamily(
        "knudge_model_limit_debt_seconds", "About how long a new call waits for a limit.", labels=["model", "limit"]
    )
    in_flight = GaugeMetricFamily("knudge_model_in_flight", "Calls that hold a permit.", labels=["model"])
    for model in models:
        for state in _BREAKER_STATES:
            breaker.add_metric([model.model, state], int(model.breaker == state))
        for limit, seconds in (("requests", model.requests_debt_s), ("tokens", model.tokens_debt_s), ("pause", model.paused_s)):
            debt.add_metric([model.model, limit], seconds)
        in_flight.add_metric([model.model], model.in_flight)
    yield from (breaker, debt, in_flight)


def caller_metrics(callers: CallersStatus) -> Iterator[Metric]:
    """Limits for callers: what the load makes of the global one, and refusals. Gauges are missing while nobody looks."""
    gauges = (
        ("knudge_callers_factor", "What the global limit for callers is multiplied by.", callers.factor),
        ("knudge_callers_queue_age_seconds", "How long the oldest item of a run has waited.", callers.queue_age_s),
        ("knudge_callers_open_breaker_share", "Of the models in use, those left alone.", callers.open_breaker_share),
    )
    yield from (GaugeMetricFamily(name, text, value=value) for name, text, value in gauges if value is not None)
    refused = CounterMetricFamily("knudge_callers_refused", "Requests over a caller's limit.", labels=["scope"])
    for scope, count in callers.refused.items():
        refused.add_metric([scope], count)
    yield refused

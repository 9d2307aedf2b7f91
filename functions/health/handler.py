"""The status page and the cluster-wide metrics."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from common.edge.http import Request, Response, Route, json_response
from common.edge.validation import parse_query
from common.errors import InvalidInput, StoreUnavailable
from common.gateway.prices import price_table
from common.schemas.base import Model
from common.schemas.config import BudgetsConfig
from functions.health import metrics
from functions.health.probing import probe
from functions.health.reading import Reader
from functions.health.status import HealthStatus, ProviderStatus, StoreStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import redis
    from prometheus_client.core import Metric

    from common.schemas.config import GatewayConfig
    from common.settings import Settings
    from functions.health.status import CallersStatus, FunctionStatus, ModelStatus

_FUNCTIONS = ("evaluate", "aggregate", "tasks", "completions")
_PROBE_S = 5.0
_DOWN = 503
_FULL = 0.9


class StatusQuery(Model):
    """``functions=true`` also asks each function whether it is ready, which wakes those that are scaled to zero."""

    functions: bool = False


@dataclass(frozen=True, slots=True)
class Handler:
    """The use cases of `health`. ``now`` is unix time in seconds."""

    settings: Settings
    client: redis.Redis
    now: Callable[[], float] = time.time

    def routes(self) -> list[Route]:
        """Every route."""
        return [Route("GET", "/", self.status, "The whole system at a glance", answer=HealthStatus, query=StatusQuery)]

    def status(self, request: Request) -> Response:
        """``GET /``: 200 when ok or degraded, 503 when the store is away, or refuses writes: then nothing works."""
        asked = parse_query(request.query, StatusQuery).functions
        urls = {name: url for name, url in self.settings.public_urls.items() if name in _FUNCTIONS}
        functions = probe(urls, timeout_s=_PROBE_S) if asked else None
        status = self._status(functions)
        return json_response(status, _DOWN if status.status == "down" else 200)

    def collect(self) -> Iterator[Metric]:
        """What ``/metrics`` shows beyond this process."""
        reader = Reader(self.client)
        try:
            store, runs, dead_letters = reader.store(), reader.runs(self.now()), reader.dead_letters()
            models, callers = reader.models(self._configured()[1]), reader.callers(self._global_rpm())
        except StoreUnavailable:
            yield metrics.store_up(up=False)
            return
        yield metrics.store_up(up=True)
        yield from metrics.store_metrics(store)
        yield from metrics.run_metrics(runs, dead_letters)
        yield from metrics.model_metrics(models)
        yield from metrics.level_metrics(models)
        yield from metrics.caller_metrics(callers)

    def _status(self, functions: list[FunctionStatus] | None) -> HealthStatus:
        reader = Reader(self.client)
        providers, models, wrong = self._configured()
        reasons = [*wrong, *_function_reasons(functions or []), *_provider_reasons(providers)]
        try:
            store, runs, dead_letters = reader.store(), reader.runs(self.now()), reader.dead_letters()
            found, callers = reader.models(models), reader.callers(self._global_rpm())
            budgets = reader.budgets(self._budgets_config(), self.now())
        except StoreUnavailable as error:
            reasons.insert(0, error.message)
            store = StoreStatus(reachable=False)
            return HealthStatus(
                status="down", reasons=reasons, store=store, providers=providers, models=[], functions=functions
            )
        reasons += [*_store_reasons(store), *_model_reasons(found), *_caller_reasons(callers)]
        return HealthStatus(
            status="down" if store.refuses_writes else "degraded" if reasons else "ok",
            reasons=reasons,
            store=store,
            providers=providers,
            models=found,
            runs=runs,
            dead_letters=dead_letters,
            callers=callers,
            budgets=budgets,
            prices_as_of=price_table().as_of,
            functions=functions,
        )

    def _config(self) -> GatewayConfig:
        """The gateway's, where it makes sense here at all: a model in it may be of a provider whose key only others have."""
        try:
            return self.settings.gateway_config()
        except InvalidInput:
            return self.settings.gateway_config(elsewhere=True)

    def _configured(self) -> tuple[list[ProviderStatus], list[str], list[str]]:
        """Providers, names of models, and what is wrong with the configuration."""
        try:
            config = self._config()
        except InvalidInput as error:
            return [], [], [error.message]
        environ, given = self.settings.environ, config.providers
        keys = {name: bool(environ.get(p.api_key_env)) for name, p in given.items() if p.api_key_env}
        seen = keys if any(keys.values()) else {}
        providers = [ProviderStatus(name=name, kind=p.kind, key=seen.get(name)) for name, p in sorted(given.items())]
        return providers, sorted(config.models), []

    def _budgets_config(self) -> BudgetsConfig:
        """The configured budgets. A wrong file is told elsewhere."""
        try:
            return self._config().budgets
        except InvalidInput:
            return BudgetsConfig()

    def _global_rpm(self) -> int | None:
        """The global limit for callers, None without one. A wrong file is told elsewhere."""
        try:
            callers, _ = self.settings.callers_config()
        except InvalidInput:
            return None
        return callers.everyone.rpm if callers and callers.everyone else None


def _function_reasons(functions: list[FunctionStatus]) -> list[str]:
    return [f"{function.name} is not ready" for function in functions if not function.ready]


def _provider_reasons(providers: list[ProviderStatus]) -> list[str]:
    return [f"the key of provider {provider.name} is not set" for provider in providers if provider.key is False]


def _store_reasons(store: StoreStatus) -> list[str]:
    reasons = []
    if store.refuses_writes:
        reasons.append(f"the store refuses writes: {store.refuses_writes}")
    if not store.last_write_ok:
        reasons.append("the store could not write its file")
    if store.memory_limit_bytes:
        if (store.memory_bytes or 0) > _FULL * store.memory_limit_bytes:
            reasons.append("the store's memory is nearly full")
        if store.eviction_policy != "noeviction":
            reasons.append(f"the store may drop data when full: its policy is {store.eviction_policy}, not noeviction")
    return reasons


def _model_reasons(models: list[ModelStatus]) -> list[str]:
    return [f"the breaker of {model.model} is {model.breaker}" for model in models if model.breaker != "closed"]


def _caller_reasons(callers: CallersStatus) -> list[str]:
    if callers.factor is None or callers.factor >= 1:
        return []
    return [f"the global limit for callers is at {callers.factor:.0%}, because of the load"]

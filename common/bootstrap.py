"""Wiring: which implementation stands behind each port. One builder for each runtime; nothing connects here.

What readiness does not need is imported when it is first used: `/readyz` answers before the schemas are loaded.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from common.crashpoints import arm
from common.errors import InvalidInput, Misconfigured
from common.store.probe import is_plain, ping, ping_blocking

if TYPE_CHECKING:
    import redis
    import redis.asyncio

    from common.gateway.gateway import Gateway
    from common.limits.callers import Callers, Standing
    from common.schemas.caller import Caller
    from common.schemas.completion import Completion, CompletionRequest
    from common.schemas.config import GatewayConfig
    from common.settings import Settings
    from common.store.evaluations import RedisEvaluations
    from common.store.scripts import ScriptRunner
    from common.store.verdicts import RedisRunReader

_MARKER_BYTES = 6
_MENDING_S = 30.0


@dataclass(frozen=True)
class AsyncParts:
    """What an async function is made of."""

    settings: Settings

    @cached_property
    def client(self) -> redis.asyncio.Redis:
        """The store's client. Importing its library takes longer than all that readiness needs."""
        from common.store.connect import async_client

        return async_client(self.settings)

    @cached_property
    def runner(self) -> ScriptRunner:
        """What the way of an evaluation asks of the store goes through one, so that it shares trips."""
        from common.store.scripts import ScriptRunner

        return ScriptRunner(self.client)

    @cached_property
    def gateway(self) -> Gateway:
        """The one road to a model, built on the first call: a pod that wakes up for a deterministic grader needs none."""
        from common.gateway.gateway import Gateway

        return Gateway(self.config, self.client, settings=self.settings, runner=self.runner)

    @cached_property
    def config(self) -> GatewayConfig:
        """The gateway's configuration. Raises `Misconfigured`: the file is the operator's, not the caller's, mistake."""
        try:
            return self.settings.gateway_config()
        except InvalidInput as error:
            raise Misconfigured(error.message, retry_after_s=_MENDING_S) from error

    def check_config(self) -> None:
        """Raise `Misconfigured` now rather than at the first model call."""
        _ = self.config

    async def complete(self, request: CompletionRequest, /) -> Completion:
        """`common.ports.Complete`."""
        return await self.gateway.complete(request)

    @cached_property
    def runs(self) -> RedisRunReader:
        """`common.ports.RunReader`."""
        from common.store.verdicts import RedisRunReader

        return RedisRunReader(self.client)

    @cached_property
    def evaluations(self) -> RedisEvaluations:
        """`common.ports.Evaluations`."""
        from common.store.evaluations import RedisEvaluations

        return RedisEvaluations(self.runner)

    async def ready(self) -> dict[str, bool]:
        """Checks of ``/readyz``. Raises `StoreUnavailable`."""
        if is_plain(self.settings.redis_url):
            await ping(self.settings.redis_url, timeout_s=self.settings.redis_timeout_s)
        else:
            await self._ping_by_client()
        return {"store": True}

    async def _ping_by_client(self) -> None:
        from common.store.connect import store_errors

        with store_errors():
            await self.client.ping()

    async def authenticate(self, token: str) -> Caller | None:
        """Whose API key this is."""
        from common.store.apikeys import lookup_async

        return await lookup_async(self.client, token)

    async def check_limits(self, caller: Caller) -> Standing | None:
        """How a request of the caller stands with its limits."""
        return await self.callers.check(caller)

    @cached_property
    def callers(self) -> Callers:
        """Limits for callers."""
        from common.limits.callers import AsyncStore, Callers

        return Callers(self.settings, AsyncStore(self.client))

    @staticmethod
    def marker() -> str:
        """A fresh random token that fences judged text; what is judged cannot know it beforehand."""
        return secrets.token_hex(_MARKER_BYTES)


@dataclass(frozen=True)
class SyncParts:
    """What a Flask function is made of."""

    settings: Settings

    @cached_property
    def client(self) -> redis.Redis:
        """The store's client, as in `AsyncParts`."""
        from common.store.connect import sync_client

        return sync_client(self.settings)

    def ready(self) -> dict[str, bool]:
        """Checks of ``/readyz``. Raises `StoreUnavailable`."""
        if is_plain(self.settings.redis_url):
            ping_blocking(self.settings.redis_url, timeout_s=self.settings.redis_timeout_s)
        else:
            self._ping_by_client()
        return {"store": True}

    def _ping_by_client(self) -> None:
        from common.store.connect import store_errors

        with store_errors():
            self.client.ping()

    def authenticate(self, token: str) -> Caller | None:
        """Whose API key this is."""
        from common.store.apikeys import ApiKeyStore

        return ApiKeyStore(self.client).lookup(token)

    async def check_limits(self, caller: Caller) -> Standing | None:
        """How a request of the caller stands with its limits. It never waits on a loop."""
        return await self.callers.check(caller)

    @cached_property
    def callers(self) -> Callers:
        """Limits for callers."""
        from common.limits.callers import BlockingStore, Callers

        return Callers(self.settings, BlockingStore(self.client))


def async_parts(settings: Settings) -> AsyncParts:
    """Parts for `evaluate` and `completions`."""
    arm(settings.crash_at)
    return AsyncParts(settings)


def sync_parts(settings: Settings) -> SyncParts:
    """Parts for `tasks`, `aggregate` and `health`."""
    arm(settings.crash_at)
    return SyncParts(settings)

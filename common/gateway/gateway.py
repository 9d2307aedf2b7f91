"""The one road to a model: limits and breaker, the provider, accounts, another try, the next model."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from itertools import count
from random import Random
from typing import TYPE_CHECKING

from common.errors import MalformedReply, Overloaded, ProviderError, ProviderRateLimited, StructuredOutputRefused
from common.gateway.admission import Admission
from common.gateway.attempt import Asked, Surroundings, attempt
from common.gateway.budgets import budgets_of
from common.gateway.cache import ResponseCache
from common.gateway.catalogue import Catalogue
from common.gateway.cost import CHARACTERS_PER_TOKEN, prompt_tokens
from common.gateway.metrics import RETRIES_REFUSED
from common.gateway.names import resolve, split
from common.gateway.prices import Limits
from common.gateway.retry import RetryBudget, pause_s
from common.observability.logs import log
from common.providers.account import Account
from common.providers.http import Http
from common.providers.registry import make_provider
from common.providers.wire import text_of
from common.schemas.completion import StreamChunk
from common.schemas.evaluation import ModelCall, Usage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
    from typing import Any

    from redis.asyncio import Redis

    from common.gateway.catalogue import ModelInfo
    from common.ports import Provider
    from common.schemas.completion import Completion, CompletionRequest
    from common.schemas.config import GatewayConfig
    from common.settings import Settings
    from common.store.scripts import ScriptRunner


class Gateway:
    """Implements `common.ports.Complete` by `complete`. One for each event loop; opens nothing before the first call.

    Args:
        config: Providers, models, routes, aliases, breaker, retries.
        redis: Client of the store that all processes share.
        settings: For the deadline of calls that bring none, and the providers' keys.
        clock: Monotonic seconds, the clock of ``request.deadline_s``.
        sleep: Waits for a slot and between retries.
        rng: Jitter.
        listeners: pybreaker's ``CircuitBreakerListener``, told when this process sees a breaker change.
        runner: Has what else this process asks of `redis` go in the same trips; None: the gateway's trips are its own.
    """

    def __init__(
        self,
        config: GatewayConfig,
        redis: Redis,
        *,
        settings: Settings,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        rng: Random | None = None,
        listeners: Sequence[Any] = (),
        runner: ScriptRunner | None = None,
    ) -> None:
        self._config = config
        self._settings = settings
        self._http = Http()
        self._providers: dict[str, Provider] = {}
        self._limits = Limits(config)
        self._retries: dict[str, RetryBudget] = {}
        admission, chance = Admission(redis, config, listeners, runner=runner), rng or Random()  # noqa: S311 -- jitter
        self._around = Surroundings(admission, clock, sleep, chance, config.on_store_failure)
        self._cache = ResponseCache(config, self._around)
        self._catalogue = Catalogue(config, redis, self._provider, clock=clock)

    async def complete(self, request: CompletionRequest, /) -> Completion:
        """The model's answer, with what was paid to whom. See `common.ports.Complete`.

        Raises:
            ModelNotFound: the name resolves to nothing here, or the provider does not know it.
            InvalidInput: the provider has no counterpart for a field of the request.
        """
        journey = _Journey(self._deadline(request))
        chain = resolve(request.model, self._config).models
        if self._cache.mode(request) == "no-store":
            return await self._travel(chain, request, journey)

        async def ask(landed: Callable[[Completion], None]) -> Completion:
            journey.landed = landed
            return await self._travel(chain, request, journey)

        return await self._cache.through(request, chain, deadline_s=journey.deadline_s, ask=ask)

    async def _travel(self, chain: Sequence[str], request: CompletionRequest, journey: _Journey) -> Completion:
        for place, model in enumerate(chain, 1):
            try:
                completion = await self._persist(model, request, journey)
            except (ProviderError, Overloaded) as error:
                journey.tried.append(f"{model}: {error.code}")
                if place == len(chain):
                    raise
            else:
                if not journey.tried:
                    return completion
                return replace(completion, call=completion.call.model_copy(update={"tried": journey.tried}))
        raise AssertionError

    async def stream(self, request: CompletionRequest, /) -> AsyncGenerator[StreamChunk]:
        """The same, piece by piece. Retries and fallback end with the first piece; after that an error is raised as it is.

        The last chunk has ``call``. Closing the generator closes the call to the provider; what was received by then is
        counted, its tokens estimated.
        """
        journey = _Journey(self._deadline(request))
        chain = resolve(request.model, self._config).models
        for place, model in enumerate(chain, 1):
            try:
                async with aclosing(self._persist_stream(model, request, journey)) as chunks:
                    async for chunk in chunks:
                        yield chunk
            except (ProviderError, Overloaded) as error:
                journey.tried.append(f"{model}: {error.code}")
                if journey.streaming or place == len(chain):
                    raise
            else:
                return

    async def models(self, *, discover: bool = True) -> list[ModelInfo]:
        """Models that can be asked for: configured, aliases, routes, and what the providers list (kept for minutes).

        Raises:
            StoreUnavailable: the breakers' states cannot be read.
        """
        return await self._catalogue.entries(discover=discover)

    async def aclose(self) -> None:
        """Account for what is still to be accounted for, then close the connections to the providers, not the store's."""
        await self._around.admission.drain()
        await self._http.aclose()

    async def _persist(self, model: str, request: CompletionRequest, journey: _Journey) -> Completion:
        retries = self._first_try(model)
        for attempts in count(1):
            try:
                return await self._once(model, request, journey)
            except StructuredOutputRefused as error:  # twice at most: there are three ways
                journey.tried.append(f"{error.model}: {error.code}")
            except ProviderError as error:
                await self._pause_or_raise(error, attempts, journey, retries)
        raise AssertionError

    async def _persist_stream(self, model: str, request: CompletionRequest, journey: _Journey) -> AsyncGenerator[StreamChunk]:
        retries = self._first_try(model)
        for attempts in count(1):
            try:
                async with aclosing(self._stream_once(model, request, journey.deadline_s)) as chunks:
                    async for chunk in chunks:
                        journey.streaming = True
                        yield chunk
            except ProviderError as error:
                if journey.streaming:
                    raise
                await self._pause_or_raise(error, attempts, journey, retries)
            else:
                return

    async def _pause_or_raise(self, error: ProviderError, attempts: int, journey: _Journey, retries: RetryBudget) -> None:
        remaining_s = journey.deadline_s - self._around.clock()
        wait_s = pause_s(attempts, error, self._config.retry, self._around.rng, remaining_s=remaining_s)
        if wait_s is None:
            raise error
        # What the provider's own limit refuses is paced by everybody together before the next try.
        if not isinstance(error, ProviderRateLimited) and not retries.take():
            RETRIES_REFUSED.inc(split(error.model)[0])
            log("gateway.retry.refused", level=logging.WARNING, model=error.model, code=error.code)
            raise error
        journey.tried.append(f"{error.model}: {error.code}")
        await self._around.sleep(wait_s)

    def _first_try(self, model: str) -> RetryBudget:
        name = split(model)[0]
        if name not in self._retries:
            self._retries[name] = RetryBudget(self._config.retry, self._around.clock)
        self._retries[name].first_try()
        return self._retries[name]

    async def _once(self, model: str, request: CompletionRequest, journey: _Journey) -> Completion:
        name, bare = split(model)
        async with attempt(self._asked(model, request), self._around, deadline_s=journey.deadline_s) as under_way:
            wanted = replace(request, model=bare, max_tokens=under_way.max_tokens or request.max_tokens)
            completion = await self._provider(name).complete(wanted, timeout_s=under_way.timeout_s)
            call = under_way.succeeded(completion, completion.call, now_s=self._around.clock())
            completion = replace(completion, call=call)
            under_way.check_whole(completion.finish_reason)
            if journey.landed is not None:  # in here, so that it goes in the same trip as the settling
                journey.landed(completion)
        return replace(completion, budgets=under_way.budgets) if under_way.budgets else completion

    async def _stream_once(self, model: str, request: CompletionRequest, deadline_s: float) -> AsyncGenerator[StreamChunk]:
        name, bare = split(model)
        received = _Received(prompt_tokens(request))
        async with attempt(self._asked(model, request), self._around, deadline_s=deadline_s) as under_way:
            wanted = replace(request, model=bare, max_tokens=under_way.max_tokens or request.max_tokens)
            chunks = self._provider(name).stream(wanted, timeout_s=under_way.timeout_s)
            call: ModelCall | None = None
            try:
                async with aclosing(chunks):
                    async for chunk in chunks:
                        received.note(chunk)
                        yield chunk
            finally:
                # Also when the consumer goes away: the tokens were made, and somebody pays for them.
                if received.last is not None:
                    call = under_way.succeeded(received.last, received.call(model), now_s=self._around.clock())
            if call is None:
                raise MalformedReply(f"{model}: the provider's stream is empty", model=model)
            under_way.check_whole(received.finish_reason)
            yield StreamChunk(call=call)

    def _asked(self, model: str, request: CompletionRequest) -> Asked:
        budgets = budgets_of(request.origin, self._config.budgets, now_s=time.time())
        return Asked(model, request, self._limits.of(model), budgets)

    def _deadline(self, request: CompletionRequest) -> float:
        return self._around.clock() + self._settings.default_deadline_s if request.deadline_s is None else request.deadline_s

    def _provider(self, name: str) -> Provider:
        if name not in self._providers:
            models = {split(full)[1]: limits for full, limits in self._config.models.items() if split(full)[0] == name}
            account = Account(name, self._config.providers[name], models, self._settings.environ)
            self._providers[name] = make_provider(account, self._http)
        return self._providers[name]


@dataclass(slots=True)
class _Journey:
    """One request's way along its chain of models. ``landed`` is told of the answer before it is accounted for."""

    deadline_s: float
    landed: Callable[[Completion], None] | None = None
    tried: list[str] = field(default_factory=list)
    streaming: bool = False


@dataclass(slots=True)
class _Received:
    """What came out of a stream so far; tokens are estimated until the provider tells them."""

    prompt_tokens: int
    last: StreamChunk | None = None
    characters: int = 0
    told: Usage | None = None
    cost_microusd: int | None = None
    finish_reason: str | None = None
    reported_model: str | None = None
    simulated: bool = False

    def note(self, chunk: StreamChunk) -> None:
        self.last = chunk
        self.characters += len(text_of(chunk.delta.get("content")))
        self.told = chunk.usage or self.told
        self.cost_microusd = self.cost_microusd if chunk.cost_microusd is None else chunk.cost_microusd
        self.finish_reason = chunk.finish_reason or self.finish_reason
        self.reported_model = chunk.reported_model or self.reported_model
        self.simulated = self.simulated or chunk.simulated

    def call(self, model: str) -> ModelCall:
        estimate = Usage(prompt_tokens=self.prompt_tokens, completion_tokens=-(-self.characters // CHARACTERS_PER_TOKEN))
        return ModelCall(
            model=model,
            reported_model=self.reported_model,
            usage=self.told or estimate,
            cost_microusd=self.cost_microusd,
            simulated=self.simulated,
        )
